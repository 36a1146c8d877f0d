"""The Perfetto trace, decoded with Perfetto's own schema, which is in its Python package.

Its trace processor is not run: the package would download it.
"""

import asyncio
import runpy
from types import SimpleNamespace

import pytest

import boucle
from conftest import EXAMPLES, ROOT

schema = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")

SCENES = ROOT / "crates" / "boucle-chronology" / "tests" / "golden"


def decoded(chronology, tmp_path):
    """The trace of a chronology: its tracks by number, and its slices and counts in order of time."""
    path = tmp_path / "run.pftrace"
    chronology.save(path)
    trace = schema.Trace.FromString(path.read_bytes())
    trace.DiscardUnknownFields()
    assert trace.ByteSize() == path.stat().st_size, "some field is not in the schema"
    tracks, names, open_slices, slices, counts = {}, {}, {}, [], []
    assert trace.packet[0].first_packet_on_sequence
    assert trace.packet[0].sequence_flags == 3
    for packet in trace.packet:
        names.update({entry.iid: entry.name for entry in packet.interned_data.event_names})
        if packet.HasField("track_descriptor"):
            tracks[packet.track_descriptor.uuid] = packet.track_descriptor
        if not packet.HasField("track_event"):
            continue
        event = packet.track_event
        if event.type == schema.TrackEvent.TYPE_SLICE_BEGIN:
            assert event.track_uuid not in open_slices, "slices of a track overlap"
            details = {annotation.name: annotation.string_value for annotation in event.debug_annotations}
            open_slices[event.track_uuid] = SimpleNamespace(
                name=names[event.name_iid], track=event.track_uuid, start=packet.timestamp, event=event, details=details
            )
        elif event.type == schema.TrackEvent.TYPE_SLICE_END:
            ended = open_slices.pop(event.track_uuid)
            ended.duration = (packet.timestamp - ended.start) / 1e9
            slices.append(ended)
        else:
            assert event.type == schema.TrackEvent.TYPE_COUNTER
            counts.append((tracks[event.track_uuid].name, event.counter_value))
    assert not open_slices
    return SimpleNamespace(tracks=tracks, slices=slices, counts=counts)


def test_a_starvation_with_its_victim(tmp_path):
    main = runpy.run_path(str(EXAMPLES / "starvation.py"))["main"]
    with boucle.record(program="starvation.py") as chronology:
        boucle.run(main())
    trace = decoded(chronology, tmp_path)
    tracks = {track.name: track for track in trace.tracks.values()}
    run1, run2 = tracks["run1 (pieces · starvation.py)"], tracks["run2 (pieces · starvation.py)"]
    parent = trace.tracks[run1.parent_uuid]
    assert parent.name.endswith("(main · starvation.py)")
    assert run2.parent_uuid == parent.uuid
    process = trace.tracks[parent.parent_uuid]
    assert process.process.process_name == "starvation.py"
    assert [track.thread.thread_name for track in tracks.values() if track.HasField("thread")] == [
        "processor: MainThread"
    ]

    [block] = [of for of in trace.slices if of.track == run1.uuid and of.name.startswith("BLOCK")]
    expected = chronology.starvations[0]
    assert block.duration == pytest.approx(expected.duration, abs=1e-6)
    assert "starvation.py:" in block.name
    [wait] = [of for of in trace.slices if of.name == "waiting for run1"]
    assert wait.track == run2.uuid
    assert wait.duration >= expected.victims[0].waited - 1e-6
    ends = {flow: of for of in trace.slices for flow in of.event.terminating_flow_ids}
    victims = [ends[flow] for flow in block.event.flow_ids]
    assert run2.uuid in [victim.track for victim in victims]
    assert len(victims) == len(expected.victims)
    assert max(count for name, count in trace.counts if name == "ready on MainThread") >= 2
    assert trace.counts[-1][1] == 0


def test_a_watched_block_has_its_stack(tmp_path):
    trace = decoded(boucle.load(SCENES / "watched.boucle"), tmp_path)
    blocks = [of for of in trace.slices if of.name == "BLOCK sleep shop.py:31"]
    assert len(blocks) == 1
    [block] = blocks
    frames = [(frame.function_name, frame.line_number) for frame in block.event.callstack.frames]
    assert frames == [("report", 31), ("pause", 88)], "the outermost frame comes first"
    assert block.details["advice"] == "await asyncio.sleep(…) instead"
    assert block.details["cause"] == "sleep"
    assert block.details["had to wait"] == "2"


def test_names_may_hold_anything(tmp_path):
    async def main():
        await asyncio.create_task(asyncio.sleep(0), name="\x00\n<b>é作")

    with boucle.record(program="names.py") as chronology:
        boucle.run(main())
    trace = decoded(chronology, tmp_path)
    assert any(track.name.startswith("\\u{0}\\n<b>é作 (") for track in trace.tracks.values())
