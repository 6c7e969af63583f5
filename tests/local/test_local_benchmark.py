"""What the benchmark of the local stack makes of what its clients noted."""

import asyncio

import pytest

from benchmarks.local_clients import Received
from benchmarks.local_stack import arrivals
from benchmarks.recorder import Recorder


def test_a_token_counts_as_there_when_the_frame_with_its_last_character_is() -> None:
    frames = [("Hel", 1.0), ("lo wor", 2.0), ("ld", 3.0), ("!", 4.0)]
    texts, moments = [text for text, _ in frames], [moment for _, moment in frames]
    received = Received("", texts, moments, started_at=0, ended_at=5)
    assert arrivals(["He", "l", "lo", " ", "world", "!"], received) == [1.0, 1.0, 2.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("pieces", [[b"..done.."], [b"..do", b"ne.."], [b"done", b"more"]])
async def test_the_end_is_seen_wherever_the_network_cuts_it(pieces: list[bytes]) -> None:
    recorder = Recorder()
    recorder.data_received(b"done before")
    recorder.expect(b"done", b"failed")
    for piece in pieces:
        recorder.data_received(piece)
    async with asyncio.timeout(60):
        await recorder.seen()
    assert recorder.since(1) == b"".join(pieces)


async def test_a_connection_that_breaks_before_the_end_is_no_measurement() -> None:
    recorder = Recorder()
    recorder.expect(b"done")
    recorder.data_received(b"half")
    recorder.connection_lost(None)
    with pytest.raises(ConnectionResetError, match="half"):
        await recorder.seen()
