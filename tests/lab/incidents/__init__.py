# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "incidents" of the lab (private to the collection): services that have the faults of the runbook.

The programs beside this run on the hosts: only Python's library and gunicorn are there.
"""
