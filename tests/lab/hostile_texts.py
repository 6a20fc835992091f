# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Room "hostile_texts" of the lab (private to the collection): names that would rather be markup, scripts or templates.

What runs sets ``window.ran``.
"""

from __future__ import annotations

PAYLOADS = [
    "<script>window.ran = 1</script>",
    "</script><script>window.ran = 1</script>",
    "]]></script><script>window.ran = 1</script>",
    "]]>",
    "<!-- ",
    "</title></svg><img src=x onerror=window.ran=1>",
    "\"' onload='window.ran=1' x=\"",
    "{{ 7 * 191 }} {% raw %} ${window.ran = 1}",
    "&lt;b&gt;&#10;&amp;",
    "\u202egnp.exe\u202c \u200f\u2066x",
    "\u05e9\u05dc\u05d5\u05dd \u0645\u0631\u062d\u0628\u0627",
    "a\x00b\x1b[31mc\nd\re\x85f\u2028g\ufffe\ud800",
    "\U0001f40d" * 50,
    "<b>" * 350_000,
]
