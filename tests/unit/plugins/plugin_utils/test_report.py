# Copyright (c) The pyspy.fleet developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Tests of the report, made of real captures in a real folder."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import zlib
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from ansible_collections.pyspy.fleet.plugins.action.report import verdict_on_plan
from ansible_collections.pyspy.fleet.plugins.plugin_utils import _stacks_report
from ansible_collections.pyspy.fleet.plugins.plugin_utils._dumped import store
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._folded import read
from ansible_collections.pyspy.fleet.plugins.plugin_utils._formats._speedscope import Document, ThreadSamples, write
from ansible_collections.pyspy.fleet.plugins.plugin_utils._graphs import render_host, render_target
from ansible_collections.pyspy.fleet.plugins.plugin_utils._passes import joined
from ansible_collections.pyspy.fleet.plugins.plugin_utils._preview import plan_lines
from ansible_collections.pyspy.fleet.plugins.plugin_utils._profile import Frame
from ansible_collections.pyspy.fleet.plugins.plugin_utils._report import (
    Context,
    build,
    may_print,
    verdict,
)
from ansible_collections.pyspy.fleet.plugins.plugin_utils._run import Run, open_run, stem
from ansible_collections.pyspy.fleet.plugins.plugin_utils._stacks import plain
from ansible_collections.pyspy.fleet.plugins.plugin_utils._wire import (
    Capture,
    ErrorText,
    Evidence,
    Harm,
    HostRecord,
    Measure,
    Process,
    Scope,
    Selection,
    Trace,
)

CAPTURES = Path(__file__).parent / "captures"
BEGAN = 1795340282.0  # 2026-11-22 09:38:02 UTC
EVIDENCE = Evidence(Scope(1, 1, 0, 1, BEGAN, BEGAN + 30), (Trace(1, "R", 0, "R", 0),), (), ())
HOSTILE = "</td><script>alert(1)</script>`|[x](javascript:y)\x1b[31m\nq"
TIMEOUT = ErrorText("The host cannot be reached", "Connection timed out", "see that ssh to it works")
REFUSED = {"reason": "py-spy may not attach", "detail": "Permission denied", "remedy": "become root"}


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return open_run(str(tmp_path), "profile", "web", "key")


def process(pid: int = 4711, name: str = "gunicorn: worker [shop]") -> Process:
    return Process(pid, pid, "www-data", name, "worker", "3.11", 97.5, "hot: 97.5 % CPU")


def capture(outcome: str = "profiled", pid: int = 4711, kind: str = "cpu", name: str = "shop") -> Capture:
    samples = 136 if outcome == "profiled" else 0
    row = Capture(
        process(pid, name), Measure(kind, 50, False, False), outcome, samples, 0, BEGAN, BEGAN + 30, 30.0, 100
    )
    if outcome == "failed":
        return replace(row, **REFUSED)
    return replace(row, file=f"{stem(row.process)}.speedscope.json") if outcome == "profiled" else row


def add(run: Run, host: str, *captures: Capture, source: str = "plain", **fields: object) -> HostRecord:
    """A collected host with these captures, each the same real file."""
    targets = tuple(row.process for row in captures)
    record = HostRecord(host, "collected", (), "ab12", BEGAN, BEGAN + 30, Selection(targets), captures)
    record = replace(record, **fields)  # type: ignore[arg-type]
    for row in captures:
        if row.file:
            run.write_capture(host, row.file, (CAPTURES / f"{source}.speedscope.json").read_bytes())
    run.write_host(record)
    return record


def text(run: Run, name: str) -> str:
    return Path(run.path, name).read_text()


def test_a_run_in_a_dozen_lines(run: Run) -> None:
    for number in range(1, 4):
        add(run, f"web-{number:02}", capture(pid=1), capture(pid=2), evidence=replace(EVIDENCE, scope=Scope()))
    summary = build(run, Context(title="Checkout is slow", reason="INC-4711", hosts=("web-01", "web-02", "web-03")))
    lines = summary.lines(80)
    assert lines == [
        "",
        "Checkout is slow (INC-4711)",
        "",
        "Hosts     3 of 3 profiled",
        "Targets   6 profiled; 6 of 6 Python processes chosen",
        "Window    30.0 s on each host, 2026-11-22 09:38:02 to 09:38:32 UTC",
        "Restored  3 of 3 hosts (read back)",
        "Samples   816 of 6 targets; CPU time (not idle), 50 Hz, nonblocking",
        "Hottest    69.9 %  hot_loop                shop/busy.py:12",
        "           13.2 %  JSONEncoder.iterencode  json/encoder.py:258",
        "           10.3 %  JSONDecoder.raw_decode  json/decoder.py:353",
        "            3.7 %  fib                     shop/busy.py:7",
        lines[12],
        f"Report    {run.path}/index.html",
    ]
    assert text(run, "summary.md").startswith("# Checkout is slow (INC-4711)\n\n- **Hosts**: 3 of 3 profiled\n")


def test_failures_are_grouped_by_reason(run: Run) -> None:
    add(run, "web-01", capture(), capture("failed", 2), capture("empty", 3))
    for number in range(2, 8):
        run.write_host(HostRecord(f"web-{number:02}", "unreachable", error=TIMEOUT))
    run.write_host(HostRecord("web-08", "failed", error=ErrorText("No Python", "", "install one")))
    run.write_host(HostRecord("web-09", "nothing", selection=Selection(notes=("pattern 'x' matched 0 of 9",))))
    run.write_host(HostRecord("web-10", "opted_out"))
    run.write_host(HostRecord("web-11", "recording"))
    summary = build(run, Context(hosts=tuple(f"web-{number:02}" for number in range(1, 13))))
    body = " ".join(" ".join(summary.lines(80)).split())
    assert (
        "1 of 12 profiled, 1 no target, 1 opted out, 1 failed, 6 unreachable, 1 not collected yet, 1 no record" in body
    )
    assert "web-02, web-03, web-04 (+3 more): The host cannot be reached: Connection timed out. Remedy: see" in body
    assert "1 profiled, 1 idle (no samples), 1 failed" in body
    assert "web-01: py-spy may not attach: Permission denied. Remedy: become root." in body
    assert "1 more reason" in body
    assert sum(summary.hosts.values()) == 12
    assert all(len(line) <= 80 for line in summary.lines(80)[:-1])


def test_chosen_targets_without_a_capture_are_failures(run: Run) -> None:
    record = add(run, "web-01", capture(), selection=Selection((process(4711), process(4712))))
    summary = build(run, Context())
    assert summary.targets["failed"] == 1
    assert "web-01: no capture of this target came back" in "\n".join(summary.lines())
    assert "shop] (pid 4712)" in text(run, "index.html")
    assert verdict(record, "any") is not None and verdict(record, "all") is None


def test_nothing_found_says_which_selector_matched_what(run: Run) -> None:
    note = "pattern 'gunicron' matched 0 of {} processes (14 are Python)"
    for number in (1, 2):
        run.write_host(HostRecord(f"web-{number}", "nothing", selection=Selection(notes=(note.format(number),))))
    body = " ".join(" ".join(build(run, Context()).lines()).split())
    assert "0 of 2 profiled, 2 no target" in body
    assert "web-1, web-2: e.g. pattern 'gunicron' matched 0 of 1 processes (14 are Python)" in body
    assert "Profile none: nothing was sampled" in body
    assert not Path(run.path, "fleet.svg").exists()


def test_different_measures_are_never_added_up(run: Run) -> None:
    add(run, "web-01", capture(pid=1), capture(pid=2))
    add(run, "web-02", capture(pid=3, kind="gil"))
    summary = build(run, Context())
    assert [(row.kind, row.samples, row.targets, row.hosts, row.files[0]) for row in summary.pictures] == [
        ("cpu", 272, 2, 1, "fleet.svg"),
        ("gil", 136, 1, 1, "fleet-gil.svg"),
    ]
    assert "mixed measures, which are not added up" in " ".join(summary.lines())
    assert sum(count for _names, count in read(text(run, "fleet.folded"))) == 272
    assert sum(count for _names, count in read(text(run, "fleet-gil.folded"))) == 136
    add(run, "web-02", capture("empty"))
    build(run, Context())
    assert not Path(run.path, "fleet-gil.svg").exists()


@pytest.mark.parametrize("data", [b"", b"{}", b"not json"])
def test_a_broken_capture_is_a_warning_that_names_it(run: Run, data: bytes) -> None:
    add(run, "web-01", capture(pid=1), capture(pid=2))
    run.write_capture("web-01", capture(pid=2).file, data)
    summary = build(run, Context())
    assert summary.pictures[0].samples == 136
    assert len(summary.warnings) == 1
    assert "web-01 2-shop.speedscope.json is not in the graphs" in summary.warnings[0]
    assert "2-shop.speedscope.json" in text(run, "index.html")


def weighing(weight: float, frames: tuple[Frame, ...] = (Frame("owned", "/x.py", 1),)) -> bytes:
    """A capture of two samples, each of this weight and of all these frames."""
    samples = (tuple(range(len(frames))),) * 2
    return write(Document(frames, (ThreadSamples("Thread 1", samples, (weight, weight)),)))


@pytest.mark.parametrize(
    "data",
    [
        weighing(0.0),
        weighing(1e-12),
        weighing(0.02, ()),
        weighing(0.02, (Frame("thread (1): main", "", 0),)),
        write(Document((), ())),
    ],
)
@pytest.mark.parametrize("kind", ["gil", "cpu"])
def test_a_capture_that_weighs_nothing_spoils_no_other(run: Run, data: bytes, kind: str) -> None:
    add(run, "web-01", capture(pid=1), capture(pid=2))
    add(run, "web-02", capture(pid=3, kind=kind))
    run.write_capture("web-02", capture(pid=3).file, data)
    render_host(run, "web-02")
    summary = build(run, Context())
    assert [(row.kind, row.samples, row.hosts) for row in summary.pictures] == [("cpu", 272, 1)]
    [warning] = summary.warnings
    assert "web-02 3-shop.speedscope.json is not in the graphs" in warning
    assert not list(Path(run.path, "hosts/web-02").glob("host*"))


def test_a_missing_capture_and_a_broken_record_are_warnings(run: Run) -> None:
    add(run, "web-01", replace(capture(), file="gone.speedscope.json"))
    Path(run.path, "hosts/web-01/gone.speedscope.json").unlink()
    run.write_host(HostRecord("web-02", "nothing"))
    Path(run.path, "hosts/web-02/recording.json").write_text("{")
    warnings = build(run, Context()).warnings
    assert len(warnings) == 2
    assert "web-02" in warnings[0] and "gone.speedscope.json" in warnings[1]


def test_the_second_call_writes_nothing_and_knows_the_same(run: Run) -> None:
    add(run, "web-01", capture())
    first = build(run, Context(hosts=("web-01",)))
    before = Path(run.path, "index.html").stat().st_ino
    second = build(run, Context(hosts=("web-01",)))
    assert (first.rendered, second.rendered) == (True, False)
    assert second == replace(first, rendered=False)
    assert Path(run.path, "index.html").stat().st_ino == before
    add(run, "web-02", capture())
    third = build(run, Context(hosts=("web-01",)))
    assert third.rendered and third.hosts == {"profiled": 2}
    assert build(run, Context(hosts=("web-01",), title="other")).rendered


@pytest.mark.parametrize("state", ["", "{}", "[]", '{"digest": 1, "summary": 2}'])
def test_a_state_of_another_version_is_ignored(run: Run, state: str) -> None:
    add(run, "web-01", capture())
    build(run, Context())
    run.write_state("report.json", state.encode())
    assert build(run, Context()).rendered


def test_the_last_of_the_batch_prints(run: Run) -> None:
    for host in "abc":
        run.write_host(HostRecord(host, "nothing"))
    assert [may_print(run, host, "abc") for host in "abca"] == [False, False, True, False]


def test_hosts_that_ask_as_they_finish_get_one_summary(run: Run) -> None:
    """As with strategy free: each host asks as soon as its own record is there."""
    printed = []
    for host in "bca":
        run.write_host(HostRecord(host, "nothing"))
        printed.append(may_print(run, host, "abc"))
    assert printed == [False, False, True]


def test_a_host_without_a_record_counts_as_well(run: Run) -> None:
    run.write_host(HostRecord("a", "recording"))
    assert [may_print(run, host, "abc") for host in "abc"] == [False, False, True]


def test_a_second_recording_in_the_same_run_is_printed_again(run: Run) -> None:
    for _recording in range(2):
        run.write_host(HostRecord("a", "nothing"))
        run.write_host(HostRecord("b", "nothing"))
        assert [may_print(run, host, "ab") for host in "ab"] == [False, True]


@pytest.mark.parametrize(
    ("record", "fails"),
    [
        (None, "any all none"),
        (HostRecord("a", "unreachable", error=TIMEOUT), "any all none"),
        (HostRecord("a", "failed"), "any all none"),
        (HostRecord("a", "recording"), "any all none"),
        (HostRecord("a", "nothing"), ""),
        (HostRecord("a", "opted_out"), ""),
        (HostRecord("a", "collected", captures=(capture(), capture("empty", 2))), ""),
        (HostRecord("a", "collected", captures=(capture(), capture("failed", 2))), "any"),
        (HostRecord("a", "collected", captures=(capture("empty"), capture("failed", 2))), "any"),
        (HostRecord("a", "collected", captures=(capture("failed"), capture("failed", 2))), "any all"),
        # Two segments of one target.
        (HostRecord("a", "collected", captures=(capture(), replace(capture("failed"), segment=2))), ""),
    ],
)
def test_the_verdict_of_a_host(record: HostRecord | None, fails: str) -> None:
    for fail_on in ("any", "all", "none"):
        found = verdict(record, fail_on)
        assert (found is not None) == (fail_on in fails.split()), fail_on
        assert found is None or (found.reason and "\n" not in found.reason)


def test_two_segments_are_one_target(run: Run) -> None:
    harm = Harm(41, 2050, 12.5, 3.0, 2, 99.0, 87.0)
    second = replace(capture(), segment=2, file="shop-4711-2.speedscope.json", harm=harm)
    add(run, "a", capture(), second)
    summary = build(run, Context(hosts=("a",)))
    assert dict(summary.targets) == {
        "profiled": 1,
        "dumped": 0,
        "empty": 0,
        "failed": 0,
        "skipped": 0,
        "found": 2,
        "chosen": 2,
    }
    assert summary.pictures[0].targets == 1 and summary.pictures[0].samples == 2 * 136
    assert summary.shortest == summary.longest == 60.0
    page = Path(run.path, "index.html").read_text(encoding="utf-8")
    words = "target stopped 12.5 % of the time, py-spy used 3 % of a core, py-spy was behind 2 times"
    assert f"cost: {words}" in page and ", segment 2" in page
    svg = Path(run.path, "hosts", "a", render_target(run, run.records()[0][0], second)).read_text(encoding="utf-8")
    assert words in svg
    manifest = json.loads(Path(run.path, "manifest.json").read_text(encoding="utf-8"))
    assert manifest["hosts"]["a"]["captures"][1]["harm"]["frames"] == 2050


def test_the_manifest_says_who_why_what_and_when(run: Run) -> None:
    add(run, "web-01", capture(), facts=(("py-spy", "0.4.3"),), evidence=EVIDENCE)
    build(
        run, Context(title="t", reason="INC-1", user="me", parameters={"rate": 100}, versions={"ansible-core": "2.19"})
    )
    manifest = json.loads(text(run, "manifest.json"))
    assert (manifest["user"], manifest["reason"], manifest["run"]) == ("me", "INC-1", run.name)
    assert manifest["versions"] == {"ansible-core": "2.19", "py-spy": "0.4.3"}
    assert manifest["parameters"] == {"rate": 100}
    host = manifest["hosts"]["web-01"]
    assert (host["status"], host["began"], host["ended"]) == ("collected", BEGAN, BEGAN + 30)
    assert host["captures"][0]["measure"]["kind"] == "cpu"
    assert host["evidence"]["scope"]["after"] == 1 and host["evidence"]["left"] == []
    assert host["evidence"]["targets"][0]["state_after"] == "R"


class Page(HTMLParser):
    """Collects what a browser would act on."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.attributes: set[str] = set()
        self.feed(content)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _value in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]


def test_the_page_links_every_file_and_loads_nothing(run: Run) -> None:
    record = add(run, "web-01", capture(name=HOSTILE))
    render_target(run, record, record.captures[0])
    render_host(run, "web-01")
    build(run, Context(hosts=("web-01", "web-02")))
    content = text(run, "index.html")
    page = Page(content)
    assert "default-src 'none'" in content
    assert not page.tags & {"img", "iframe", "link", "object"}
    assert len(page.links) == 11
    # The one script that the policy allows, by its content, and the data that it draws, which runs nowhere.
    [(kind, data), (_none, code)] = re.findall(r"<script([^>]*)>(.*?)</script>", content, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}';" in content
    assert kind == ' type="application/json" id="data"' and json.loads(data)
    assert all(Path(run.path, link).is_file() for link in page.links)
    assert "web-02" in content


def test_one_host_whose_samples_weigh_nothing_spoils_no_report_but_its_own(run: Run) -> None:
    """All shares are divided by their sum: no report could be made for anybody."""
    add(run, "web-01", capture())
    liar = add(run, "web-02", capture(kind="gil"))
    sound = json.loads((CAPTURES / "plain.speedscope.json").read_text())
    for thread in sound["profiles"]:
        thread["weights"] = [0.0] * len(thread["weights"])
    run.write_capture("web-02", liar.captures[0].file, json.dumps(sound).encode())
    summary = build(run, Context())
    assert [picture.hottest[0].name for picture in summary.pictures] == ["hot_loop"]
    assert "a weight is not the time between two samples" in " ".join(summary.warnings)


def test_what_hosts_warn_of_is_told_by_name(run: Run) -> None:
    add(run, "web-01", capture(), warnings=("recording ab12 is too young",))
    summary = build(run, Context())
    assert summary.warnings == ("web-01: recording ab12 is too young",)
    assert "web-01: recording ab12 is too young" in text(run, "index.html")


def test_hostile_texts_stay_text_everywhere(run: Run) -> None:
    hostile = replace(capture("failed", name=HOSTILE), reason=HOSTILE, detail=HOSTILE, remedy=HOSTILE, notes=(HOSTILE,))
    skipped = Selection((hostile.process,), (process(name=HOSTILE),), (HOSTILE,))
    record = add(
        run,
        "web-01",
        hostile,
        capture(),
        selection=skipped,
        warnings=(HOSTILE,),
        evidence=replace(EVIDENCE, notes=(HOSTILE,), left=(HOSTILE,)),
    )
    run.write_host(HostRecord(HOSTILE, "failed", error=ErrorText(HOSTILE, HOSTILE, HOSTILE)))
    render_target(run, record, replace(record.captures[1], notes=(HOSTILE,)))
    summary = build(run, Context(title=HOSTILE, reason=HOSTILE))
    content = text(run, "index.html")
    page = Page(content)
    assert content.count("<script") == content.count("</script") == 2
    assert not [name for name in page.attributes if name.startswith("on")]
    assert all(line.isprintable() for line in summary.lines())
    markdown = text(run, "summary.md")
    assert "\x1b" not in markdown
    assert not re.search(r"(?<!\\)<script|(?<!\\)\[x\]", markdown)


def test_a_target_s_graph_lies_beside_its_capture(run: Run) -> None:
    record = add(run, "web-01", replace(capture(), notes=("target ended in the window",)))
    assert render_target(run, record, record.captures[0]) == "4711-shop.svg"
    svg = text(run, "hosts/web-01/4711-shop.svg")
    assert "shop (pid 4711) on web-01" in svg
    assert (
        "CPU time (not idle), 50 Hz, nonblocking · 136 samples in 30.0 s · 2026-11-22 09:38:02 to 09:38:32 UTC" in svg
    )
    assert "target ended in the window" in svg


def test_a_target_s_samples_lie_beside_it_for_other_tools(run: Run) -> None:
    record = add(run, "web-01", capture())
    render_target(run, record, record.captures[0])
    names = {f"4711-shop{end}" for end in (".svg", ".folded", ".pprof.gz", ".speedscope.json")}
    assert {path.name for path in Path(run.path, "hosts/web-01").glob("4711*")} == names
    rows = read(text(run, "hosts/web-01/4711-shop.folded"))
    assert sum(count for _names, count in rows) == 136
    build(run, Context())
    # Of the only target the fleet's file is the same.
    assert text(run, "fleet.folded") == text(run, "hosts/web-01/4711-shop.folded")
    page = Page(text(run, "index.html"))
    assert {f"hosts/web-01/{name}" for name in names} <= set(page.links)


def test_a_host_s_graph_is_of_all_its_targets(run: Run) -> None:
    add(run, "web-01", capture(pid=1), capture(pid=2), capture(pid=3, kind="gil"))
    render_host(run, "web-01")
    folder = Path(run.path, "hosts/web-01")
    assert {path.name for path in folder.glob("host*")} == {"host.svg", "host-gil.svg"}
    svg = text(run, "hosts/web-01/host.svg")
    assert "2 targets on web-01" in svg and "272 samples · 2026-11-22 09:38:02 to 09:38:32 UTC" in svg
    assert svg.count("<script>") == 1
    assert "1 target on web-01" in text(run, "hosts/web-01/host-gil.svg")


def test_a_host_s_graphs_follow_another_pass(run: Run) -> None:
    add(run, "web-01", capture(pid=1), capture(pid=2), capture(pid=3, kind="gil"))
    render_host(run, "web-01")
    add(run, "web-01", *(capture(pid=pid, kind="gil") for pid in (1, 2, 3)))
    # One that cannot be read is left out; the report says so.
    run.write_capture("web-01", capture(pid=2).file, b"{}")
    render_host(run, "web-01")
    assert "2 targets on web-01" in text(run, "hosts/web-01/host.svg")
    assert not Path(run.path, "hosts/web-01/host-gil.svg").exists()
    add(run, "web-01", capture("empty"))
    render_host(run, "web-01")
    render_host(run, "web-02")
    assert not list(Path(run.path, "hosts").glob("*/host*"))


def test_the_graph_of_a_target_with_subprocesses_shows_them(run: Run) -> None:
    record = add(run, "web-01", capture(), source="sub")
    render_target(run, record, record.captures[0])
    svg = text(run, "hosts/web-01/4711-shop.svg")
    assert "process 6930" in svg and "process 6936" in svg and "hunter2" not in svg
    roots = {names[0] for names, _count in read(text(run, "hosts/web-01/4711-shop.folded"))}
    assert roots == {"process 6930", "process 6936"}


def test_the_plan_of_check_mode() -> None:
    def row(pid: int, reason: str) -> dict[str, object]:
        return {**process(pid).__dict__, "reason": reason}

    planned = {
        "web-01": {
            "targets": [row(1, "hot: 97.5 % CPU")],
            "skipped_processes": [
                *(row(pid, "does not match the pattern") for pid in range(20, 29)),
                row(2, "idle: 0.1 % CPU"),
                row(3, "idle: 0.0 % CPU"),
                row(4, "gunicorn master of 2 workers"),
            ],
            "notes": [],
        },
        "web-02": {"targets": [], "notes": ["pattern 'x' matched 0 of 9 processes"]},
        "web-03": {"unreachable": True, "msg": "Connection timed out\x1b"},
        "web-04": {},
        "web-05": {"targets": [{"pid": "x"}]},
    }
    lines = plan_lines(planned, ["web-01", "web-02", "web-03", "web-04", "web-05"])
    assert lines[3:8] == [
        "web-01",
        "  profile   gunicorn: worker [shop] (pid 1) of www-data: hot: 97.5 % CPU",
        "  skip      2 (pid 2, pid 3): e.g. idle: 0.1 % CPU",
        "  skip      1 (pid 4): gunicorn master of 2 workers",
        "  skip      9 (pid 20, pid 21 (+7 more)): does not match the pattern",
    ]
    body = "\n".join(lines)
    assert "web-02: pattern 'x' matched 0 of 9 processes" in body
    assert "web-03: Connection timed out?" in body
    assert "web-04: no plan was made" in body
    assert "web-05: A host sent a process with a bad field" in body
    assert lines[-1] == "1 target would be profiled on 1 of 5 hosts"


@pytest.mark.parametrize(
    ("planned", "fails"),
    [
        ({"targets": [], "notes": []}, False),
        ({"skipped": True, "msg": "web-01 is opted out"}, False),
        ({}, False),
        (None, False),
        ({"reason": "No process 7", "msg": "No process 7. Remedy: look again."}, True),
        ({"unreachable": True, "msg": "Connection timed out"}, True),
    ],
)
def test_a_plan_that_could_not_be_made_fails_its_host(planned: object, fails: bool) -> None:
    result = verdict_on_plan(planned)
    assert result.get("failed", False) is fails
    assert not fails or result["msg"]


def dumped(run: Run, host: str, *stacks: tuple[str, ...], others: int = 0, notes: tuple[str, ...] = ()) -> HostRecord:
    """A host with one process for each of ``stacks``, each of one thread that does not move, dumped twice."""
    captures: list[Capture] = []
    bodies: list[bytes] = []
    for pid, names in enumerate(stacks, 1):
        frames = [{"name": name, "filename": f"/srv/shop/{name}.py", "line": pid} for name in names]
        thread = {"thread_id": 1, "thread_name": "T", "active": False, "owns_gil": False, "frames": frames, "cpu": 1.0}
        looks = [{"at": at, "cpu": 1.0, "threads": [thread]} for at in (5.0, 6.0)]
        bodies.append(zlib.compress(json.dumps({"looks": looks, "others": others}).encode()))
        measure = Measure("dump", 0, False, False)
        size = len(bodies[-1])
        captures.append(
            Capture(process(pid, "app"), measure, "profiled", 2, 0, BEGAN, BEGAN + 1, 1.0, size, notes, attach="as web")
        )
    targets = tuple(row.process for row in captures)
    record = HostRecord(host, "collected", (), "", BEGAN, BEGAN + 1, Selection(targets), tuple(captures))
    record = replace(record, evidence=replace(EVIDENCE, scope=Scope()))
    record, _dumps = store(run, record, base64.b64encode(b"".join(bodies)).decode())
    run.write_host(record)
    return record


LOCKED, CULPRIT = ("wait", "ask", "main"), ("flush", "main")


def test_a_run_of_dumps_on_one_screen(run: Run) -> None:
    for number in range(1, 4):
        dumped(run, f"web-{number:02}", *[LOCKED] * 4, *([CULPRIT] if number == 2 else []))
    summary = build(run, Context("dump", reason="INC-4711", hosts=("web-01", "web-02", "web-03")))
    lines = summary.lines(80)
    assert lines[:5] == [
        "",
        "py-spy fleet dump (INC-4711)",
        "",
        "12 of 13 threads stuck in `wait` (shop/wait.py:1,2,3,…); 1 on web-02 in `flush`",
        "(shop/flush.py:5).",
    ]
    rest = lines[lines.index("Hosts     3 of 3 dumped") :]
    assert rest == [
        "Hosts     3 of 3 dumped",
        "Targets   13 dumped; 13 of 13 Python processes chosen",
        "Dumps     2 dumps, 1.0 s apart, 2026-11-22 09:38:02 to 09:38:03 UTC",
        "Restored  3 of 3 hosts (read back)",
        f"Report    {run.path}/index.html",
    ]
    assert len(lines) <= 24 and all(len(line) <= 80 for line in lines[:-1])
    assert not Path(run.path, "fleet.svg").exists()


def test_dumps_in_page_manifest_and_summary(run: Run) -> None:
    dumped(run, "web-01", LOCKED, LOCKED)
    dumped(run, "web-02", LOCKED, CULPRIT, (HOSTILE,), others=2)
    build(run, Context("dump", hosts=("web-01", "web-02")))
    page = text(run, "index.html")
    assert "<script>" not in page and "Stacks: 2 dumps, 1.0 s apart" in page and "only web-02" in page
    assert 'href="hosts/web-02/2-app.txt"' in page and "2 dumps in 1.0 s" in page
    assert "6 threads of C code without a Python stack" in page
    assert "flush" in text(run, "summary.md") and "**here**" in text(run, "summary.md")
    stacks = json.loads(text(run, "manifest.json"))["stacks"]
    assert [row["threads"] for row in stacks["groups"]] == [3, 1, 1] and stacks["more_groups"] == 0
    assert stacks["groups"][0]["hosts"] == ["web-01", "web-02"] and not stacks["groups"][0]["more_members"]


def test_figures_of_a_large_group_in_the_manifest_are_of_all_its_threads(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lines and who holds the GIL were of the members that are listed."""
    monkeypatch.setattr(_stacks_report, "MOST_MEMBERS", 1)
    dumped(run, "web-01", LOCKED, LOCKED)
    dumped(run, "web-02", LOCKED)
    build(run, Context("dump", hosts=("web-01", "web-02")))
    [row, *_rest] = json.loads(text(run, "manifest.json"))["stacks"]["groups"]
    whole = plain(_stacks_report.read(run, run.hosts(), "largest")[0].groups[0])
    assert len(row["members"]) == 1 and row["more_members"] == 2
    assert {name: row[name] for name in ("threads", "processes", "states", "culprit", "stack")} == {
        name: whole[name] for name in ("threads", "processes", "states", "culprit", "stack")
    }


def test_the_rarest_first_on_request(run: Run) -> None:
    dumped(run, "web-01", LOCKED, LOCKED, CULPRIT)
    first = build(run, Context("dump"))
    second = build(run, Context("dump", order="rarest"))
    assert second.rendered and first.stacks is not None and second.stacks is not None
    assert first.stacks.blocks[0].heading.startswith("2 threads") and second.stacks.blocks[0].heading.startswith(
        "1 thr"
    )
    assert "rarest first" in text(run, "index.html")


def test_a_new_dump_is_noticed_and_an_old_summary_says_the_same(run: Run) -> None:
    dumped(run, "web-01", LOCKED)
    first = build(run, Context("dump"))
    again = build(run, Context("dump"))
    assert first.rendered and not again.rendered and again.lines() == first.lines()
    dumped(run, "web-02", LOCKED)
    assert build(run, Context("dump")).rendered


def test_dumps_and_a_recording_in_one_run(run: Run) -> None:
    dumps = dumped(run, "web-01", LOCKED)
    recorded = HostRecord("web-01", "collected", (), "ab", BEGAN, BEGAN + 30, Selection((process(),)), (capture(),))
    run.write_capture("web-01", capture().file, (CAPTURES / "plain.speedscope.json").read_bytes())
    run.write_host(joined(dumps, replace(recorded, evidence=EVIDENCE)))
    summary = build(run, Context(hosts=("web-01",)))
    body = " ".join(" ".join(summary.lines(80)).split())
    assert "1 of 1 profiled" in body and "Targets 1 profiled, 1 dumped; 2 of 2 Python processes chosen" in body
    assert "Window 30.0 s on each host" in body and "Dumps 2 dumps" in body and "hot_loop" in body
    assert "Stacks: 2 dumps" in text(run, "index.html") and "flame graph" in text(run, "index.html")


def test_the_last_dump_of_a_process_counts(run: Run) -> None:
    first = dumped(run, "web-01", LOCKED)
    second = dumped(run, "web-01", CULPRIT)
    run.write_host(joined(first, second))
    assert [one.file for one in (*first.captures, *second.captures)] == ["1-app.json", "1-app-2.json"]
    stacks = build(run, Context("dump")).stacks
    assert stacks is not None and stacks.groups == 1 and "flush" in stacks.sentences[0]


def test_what_a_reader_of_stacks_has_to_know(run: Run) -> None:
    dumped(run, "web-01", ())
    dumped(run, "web-02", LOCKED, notes=("gevent: of all greenlets of a thread only the one that runs is seen",))
    lines = " ".join(" ".join(build(run, Context("dump")).lines()).split())
    assert "1 process without any Python stack: right for workers of uWSGI between requests" in lines
    assert "gevent: of all greenlets of a thread only the one that runs is visible" in lines


def test_no_dump_is_no_window(run: Run) -> None:
    run.write_host(HostRecord("web-01", "nothing", selection=Selection(notes=("unit 'x' matched 0 of 9",))))
    failed = replace(capture("failed"), measure=Measure("dump", 0, False, False))
    add(run, "web-02", failed)
    summary = build(run, Context("dump", hosts=("web-01", "web-02")))
    body = " ".join(" ".join(summary.lines(80)).split())
    assert "0 of 2 dumped, 1 no target, 1 all targets failed" in body and "Stacks none: nothing was dumped" in body
    wrong = verdict(run.host("web-02"), "all")
    assert wrong is not None and wrong.reason == "1 of 1 targets could not be dumped"


def test_one_line_for_a_play_that_is_about_something_else(run: Run) -> None:
    dumped(run, "web-01", LOCKED)
    assert build(run, Context("evidence")).brief() == [f"Evidence: 1 dumped; {run.path}/index.html"]
    run.write_host(HostRecord("web-02", "unreachable", error=TIMEOUT))
    lines = build(run, Context("evidence")).brief()
    assert len(lines) == 2 and lines[1].startswith("Evidence, not had: web-02: The host cannot be reached")


def test_a_broken_dump_is_a_warning(run: Run) -> None:
    record = dumped(run, "web-01", LOCKED, CULPRIT)
    run.write_capture("web-01", record.captures[0].file, b"{")
    summary = build(run, Context("dump"))
    assert "1-app.json is not in the groups: A dump cannot be read" in summary.warnings[0]
    assert summary.stacks is not None and "flush" in summary.stacks.sentences[0]


def test_groups_take_what_room_is_left_on_the_screen(run: Run) -> None:
    deep = [tuple(f"f{depth}_of_{number}" for depth in range(9)) for number in range(9)]
    dumped(run, "web-01", *deep)
    run.write_host(HostRecord("web-02", "unreachable", error=TIMEOUT))
    summary = build(run, Context("dump", hosts=("web-01", "web-02")))
    lines = summary.lines(80)
    assert len(lines) <= 24 and any(line.endswith("more groups in the files") for line in lines)
    assert "f0_of_0" in "\n".join(lines) and len(lines) > 18


def test_command_lines_stay_in_the_files_of_their_host(run: Run) -> None:
    record = dumped(run, "web-01", LOCKED)
    [one] = record.captures
    run.write_host(replace(record, captures=(replace(one, command_line=("python3", "shop.py")),)))
    build(run, Context("dump"))
    found = [path.name for path in Path(run.path).rglob("*") if path.is_file() and 'shop.py"' in path.read_text()]
    assert found == ["recording.json"]
    assert json.loads(text(run, "manifest.json"))["hosts"]["web-01"]["captures"][0]["command_line"] is None
