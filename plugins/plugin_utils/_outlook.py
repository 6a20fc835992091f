# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "outlook" of the controller wing (private to the collection): what a store says after a round.

Each service that the round saw is set beside what is usual for it, and the page with its time line is written. All of
that lies beside the store, made anew after every round.
"""
