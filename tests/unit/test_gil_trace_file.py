"""Traces as files: parsed back by Perfetto's own message classes and by json, and held against the events."""

from __future__ import annotations

import gzip
import io
import json
import struct
import threading
import time
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from meminspect import gil
from meminspect.analysis import hand_offs
from meminspect.errors import UsageError
from meminspect.probes.gil_trace import Trace, names_of
from meminspect.views.gil_trace_file import TraceFile, form_of

EVIL = "\x1b[31m</script>" + "x" * 30
pytestmark = pytest.mark.skipif(gil.counters().enabled is False, reason="there is no GIL to trace")


@pytest.fixture(scope="module")
def traced() -> Trace:
    def sleep() -> None:
        for _ in range(100):
            time.sleep(0.0001)

    def work() -> None:
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            sum(range(100))

    with gil.trace() as trace:
        threads = [threading.Thread(target=sleep, name=EVIL), *[threading.Thread(target=work) for _ in range(2)]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    return trace


def written(trace: Trace, form: str, part: int = 1000, window: tuple[float, float] | None = None) -> bytes:
    raw = trace.raw
    assert raw is not None
    names = names_of(raw)

    def name(row: int) -> tuple[int, str]:
        native_id = raw["threads"][row]["native_id"] or 0
        return native_id, names[row] or f"thread {native_id}"

    sink = io.BytesIO()
    file = TraceFile(
        sink, form, pid=raw["pid"], begin_ns=raw["begin_ns"], name=name, program="a program", window=window
    )  # fmt: skip
    for at in range(0, len(raw["events"]), 32 * part):
        file.feed(raw["events"][at : at + 32 * part])
    file.finish(raw["end_ns"] - raw["begin_ns"])
    return sink.getvalue()


def spans(trace: Trace, kind: int) -> list[hand_offs.Span]:
    """Holds, or waits in which a thread slept."""
    return [span for span in hand_offs.spans_of(trace.result.timeline.spans) if span.kind == kind]


def test_perfetto_reads_the_holds_waits_and_arrows(traced: Trace) -> None:
    proto = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2", reason="perfetto is not installed")
    assert traced.raw is not None
    message = proto.Trace()
    message.ParseFromString(written(traced, ".pftrace"))
    unknown = pytest.importorskip("google.protobuf.unknown_fields").UnknownFieldSet
    assert not any(len(unknown(part)) for packet in message.packet for part in (packet, packet.track_event))
    tracks, names, slices, counters, opened = {}, {}, defaultdict(list), defaultdict(list), {}
    out, into = Counter(), Counter()
    for packet in message.packet:
        assert packet.trusted_packet_sequence_id == 1
        for name in packet.interned_data.event_names:
            names[name.iid] = name.name
        if packet.HasField("track_descriptor"):
            tracks[packet.track_descriptor.uuid] = packet.track_descriptor
        if not packet.HasField("track_event"):
            continue
        assert packet.sequence_flags == proto.TracePacket.SEQ_NEEDS_INCREMENTAL_STATE
        event = packet.track_event
        at = packet.timestamp - traced.raw["begin_ns"]
        assert event.track_uuid in tracks, "a track is described before its first event"
        if event.type == proto.TrackEvent.TYPE_SLICE_BEGIN:
            notes = {note.name_iid: note for note in event.debug_annotations}
            opened[event.track_uuid] = (at, names[event.name_iid], 1 in notes)
            out.update(event.flow_ids)
            into.update(event.terminating_flow_ids)
        elif event.type == proto.TrackEvent.TYPE_SLICE_END:
            begin, name, forced = opened.pop(event.track_uuid)
            slices[name].append((begin, at, tracks[event.track_uuid].thread.tid, forced))
        else:
            assert event.type == proto.TrackEvent.TYPE_COUNTER
            counters[event.track_uuid].append((at, event.counter_value))
    assert not opened
    threads = traced.raw["threads"]
    assert slices["held"] == [
        (one.begin, one.end, threads[one.thread]["native_id"], bool(one.flags & hand_offs.FORCED))
        for one in spans(traced, hand_offs.HOLD)
    ]
    assert [one[:3] for one in slices["waiting"]] == [
        (one.begin, one.end, threads[one.thread]["native_id"]) for one in spans(traced, hand_offs.WAIT)
    ]
    total = traced.result.hand_offs.total
    assert len(into) == len(out) == total
    assert set(into) == set(out)
    assert set(into.values()) == {1}
    [waiting] = counters.values()
    assert all(value >= 0 for _, value in waiting)
    assert waiting[-1][1] == 0
    shown = {track.thread.thread_name for track in tracks.values() if track.HasField("thread")}
    assert "MainThread" in shown
    assert any("\\x1b" in name for name in shown)
    assert {clock.clock_id for clock in message.packet[0].clock_snapshot.clocks} == {1, 3, 6}


@pytest.mark.parametrize("form", [".json", ".json.gz"])
def test_chrome_s_events_are_the_same(traced: Trace, form: str) -> None:
    data = written(traced, form)
    document = json.loads(gzip.decompress(data) if form.endswith(".gz") else data)
    events = document["traceEvents"]
    assert traced.raw is not None
    threads = traced.raw["threads"]
    held = [event for event in events if event["ph"] == "X" and event["name"] == "held"]
    assert [(round(one["ts"] * 1e3), round(one["dur"] * 1e3), one["tid"], one["args"]["forced"]) for one in held] == [
        (one.begin, one.length, threads[one.thread]["native_id"], bool(one.flags & hand_offs.FORCED))
        for one in spans(traced, hand_offs.HOLD)
    ]
    arrows = {kind: {one["id"] for one in events if one["ph"] == kind} for kind in "sf"}
    assert arrows["s"] == arrows["f"]
    assert len(arrows["s"]) == traced.result.hand_offs.total
    assert any(event["ph"] == "M" and event["args"]["name"] == "a program" for event in events)


def test_a_window_cuts_what_crosses_it(traced: Trace) -> None:
    duration = traced.result.duration_s
    first, last = duration * 0.3, duration * 0.6
    events = json.loads(written(traced, ".json", window=(first, last)))["traceEvents"]
    shown = [event for event in events if event["ph"] == "X" and event["cat"] == "gil"]
    low, high = round(first * 1e9), round(last * 1e9)
    assert [
        (round(one["ts"] * 1e3), round((one["ts"] + one["dur"]) * 1e3)) for one in shown if one["name"] == "held"
    ] == [
        (max(one.begin, low), min(one.end, high))
        for one in spans(traced, hand_offs.HOLD)
        if one.begin < high and one.end >= low
    ]
    assert 0 < len(shown) < len(spans(traced, hand_offs.HOLD)) + len(spans(traced, hand_offs.WAIT))


def test_the_parts_that_events_come_in_change_nothing(traced: Trace) -> None:
    whole = written(traced, ".json", part=1 << 20)
    assert written(traced, ".json", part=1) == whole


def test_a_trace_of_this_process_is_saved_in_every_form(traced: Trace, tmp_path: Path) -> None:
    for form in (".json", ".json.gz", ".pftrace"):
        gil.save(traced, str(tmp_path / f"gil{form}"))
    document = json.loads((tmp_path / "gil.json").read_bytes())
    assert document == json.loads(gzip.decompress((tmp_path / "gil.json.gz").read_bytes()))
    assert sum(event["name"] == "held" for event in document["traceEvents"]) == len(spans(traced, hand_offs.HOLD))
    assert (tmp_path / "gil.pftrace").stat().st_size > 1000
    pytest.importorskip("jinja2", reason="jinja2 is not installed")
    gil.save(traced, str(tmp_path / "gil.html"))
    assert "The GIL went from one thread to another" in (tmp_path / "gil.html").read_text()
    for path, window in (("gil.txt", None), ("gil.html", (0.0, 1.0)), ("gil.json", (1.0, 1.0))):
        with pytest.raises(UsageError):
            gil.save(traced, str(tmp_path / path), window=window)
    with pytest.raises(RuntimeError, match="stopped"):
        gil.save(gil.trace(), str(tmp_path / "gil.json"))


def test_names_of_files() -> None:
    assert form_of("a.json.gz") == ".json.gz"
    assert form_of("/b/a.json") == ".json"
    with pytest.raises(UsageError, match="pftrace"):
        form_of("trace.txt")


def test_a_wire_number() -> None:
    from meminspect.views.gil_trace_perfetto import message, number, varint

    assert varint(300) == b"\xac\x02"
    assert number(1, 150) == b"\x08\x96\x01"
    assert message(2, b"testing") == b"\x12\x07testing"
    assert struct.calcsize("=QQIIIHH") == 32
