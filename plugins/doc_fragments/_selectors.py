# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Documentation fragment (private to the collection): which processes are meant."""

from __future__ import annotations


class ModuleDocFragment:
    """Options of SELECTOR_ARGUMENTS."""

    DOCUMENTATION = r"""
options:
  pids:
    description:
      - Take these processes of the host.
      - Naming a master means its workers.
      - The host fails when one of them is not there, is not Python, or can never be a target.
    type: list
    elements: int
  pattern:
    description:
      - Take processes whose full command line matches this regular expression anywhere, as C(pgrep -f) does.
        Of a longer one the first 16 KiB are searched.
      - Naming a master means its workers.
    type: str
  user:
    description:
      - Take processes of this user, given by name or by number. The effective user counts.
      - The host fails when it has no such user.
    type: str
  unit:
    description:
      - Take processes of this systemd unit. V(web) is V(web.service), V(web@) all instances of a template, and
        V(*) and V(?) are wildcards, as for C(systemctl).
      - The unit a process is in counts, and the slices above that. So V(user-1000.slice) takes all that this user runs.
      - Units of users' own systemd count where no process is in a unit of the system with that name.
      - The host fails when no process is in the unit, or none that could be taken.
    type: str
  port:
    description:
      - Take processes that listen on this TCP port, in any network namespace, so also inside of containers.
      - Workers that were forked by a process that listens do so too. UDP and unix sockets do not count.
      - The host fails when nobody listens on it, or nobody who could be taken.
      - Who listens is known to root and to the user of the process only.
    type: int
  container:
    description:
      - Take processes of this container, by its name, its id or the beginning of its id (three digits at least), and on
        a Kubernetes node by the name of the container in its pod. V(*) and V(?) are wildcards in names.
      - Docker, Podman (also without root), containerd, CRI-O, LXC and systemd-nspawn are known, by what they leave in
        C(/proc) and on disk. No client of theirs is needed and no daemon is asked.
      - A name that anybody could have given, as that of a user's own container, counts where none of root's has it.
      - The host fails when there is no such container, or nothing in it that could be taken.
      - The names of most runtimes are known to root only.
    type: str
  container_pids:
    description:
      - Take these processes of O(container) or O(kube_pod), by their PIDs as seen inside of it.
      - Naming a master means its workers.
      - The host fails when one of them is not there, is not Python, or can never be a target.
    type: list
    elements: int
  kube_pod:
    description:
      - Take processes of this Kubernetes pod, by its name. V(*) and V(?) are wildcards.
      - It is no failure when the host has no such pod, for pods move; notes in the result say so.
    type: str
  kube_namespace:
    description:
      - Take processes of pods in this Kubernetes namespace. V(*) and V(?) are wildcards.
    type: str
  children_of:
    description:
      - Take processes below this one in the process tree, by its PID. Children of children count, it itself does not.
      - The host fails when there is no such process.
    type: int
  process_role:
    description:
      - With V(worker) take workers, and processes that have neither master nor workers.
      - With V(master) take masters only, as gunicorn's, also where O(pids) names one.
      - With V(any) take all of these. Helpers are never taken.
    type: str
    choices: [worker, master, any]
    default: worker
  min_cpu:
    description:
      - Take processes that use at least this much CPU, in per cent of one core, measured over half a second.
    type: float
    default: 0.0
  exclude:
    description:
      - Leave out processes whose full command line matches this regular expression anywhere.
    type: str
  max_targets:
    description:
      - Take at most this many processes, the hottest first. CPU is measured over half a second.
      - Left out, 8; for dumps, which cost less and are of those that do not work, 64.
    type: int
notes:
  - Given together, the selectors narrow.
  - Without O(pids), O(pattern), O(user), O(unit), O(port), O(container), O(kube_pod), O(kube_namespace) and
    O(children_of) only processes that use CPU right now are taken, but for dumps. Where none does, those that used most
    CPU over their life are taken, and a note in the result says so.
  - Helpers such as the resource tracker of C(multiprocessing), Ansible's own processes and those of this
    collection are never taken.
  - Masters are not taken unless O(process_role) asks for them. A process that only seems a master, because it has
    children like itself, is taken when it uses at least 10 % CPU itself.
  - No match is not a failure. The host is ok, and notes in the result say which selector matched how many processes.
"""
