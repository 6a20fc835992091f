# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

.DEFAULT_GOAL := help
.PHONY: vm help program setup runtime collection profile test bench clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## */  make \1\t/' | expand -t 18

setup: runtime  ## Make .venv with everything that development needs
	@requirements/venv.sh .venv 3.11 requirements/runtime.txt requirements/test.txt

runtime: collection
	@requirements/venv.sh .venv 3.11 requirements/runtime.txt

# Ansible finds a collection only below a folder of this shape (see ansible.cfg).
collection:
	@mkdir -p .collections/ansible_collections/pyspy
	@ln -sfn ../../.. .collections/ansible_collections/pyspy/fleet

profile: runtime  ## Profile a small web service on this machine, as a demonstration
	@.venv/bin/python tests/demo/profile.py

test: setup  ## Run every test and check (as root: those on hosts and virtual machines too)
	@.venv/bin/python -m tests.run

vm: setup  ## Run only the tests that need a real Yama, in virtual machines (as root; some twenty minutes)
	@.venv/bin/python -m pytest -p no:cacheprovider --reruns=1 --rerun-show-tracebacks tests/vm

bench: setup  ## Measure profile.yml beside a plain ssh loop, and what profiling costs the targets
	@test -d bench || { echo "make: there is no bench/ yet" >&2; exit 1; }
	@PYTHONPATH=.collections .venv/bin/python -m bench

program: runtime  ## Write the host program to build/, to be run by hand on a host
	@mkdir -p build
	@PYTHONPATH=.collections .venv/bin/python -m ansible_collections.pyspy.fleet.plugins.plugin_utils._bundle \
	    build/pyspy-fleet-host.pyz

clean:  ## Remove what make made (environments, caches, build results)
	rm -rf .venv .venvs .collections .cache build .mypy_cache .pytest_cache .ruff_cache .hypothesis
