import asyncio
import signal
import threading
import time
from typing import Any

import pytest

from tests.unit.client.fake_stack import TOKEN, FakeStack, answer, complete, numbered, reject, running, start, token
from tokenstream_client import Complete, Frame, RequestRejected, SyncClient, Token
from tokenstream_client.endpoints import PathName


def test_frames_can_be_had_without_async(path: PathName) -> None:
    with (
        running(FakeStack(frames=answer("a", "b"))) as endpoints,
        SyncClient(endpoints, path=path, token=TOKEN) as client,
    ):
        frames = list(client.stream(prompt="Hi"))
        assert "".join(frame.token for frame in frames if isinstance(frame, Token)) == "ab"
        assert client.text(prompt="Hi") == "ab"


def test_leaving_the_loop_stops_the_generation(path: PathName) -> None:
    stack = FakeStack(hold_at=2)
    with running(stack) as endpoints, SyncClient(endpoints, path=path, token=TOKEN) as client:
        for _ in client.stream(prompt="Hi"):
            break
        assert stack.cancelled.wait(10)


def test_ctrl_c_while_waiting_for_a_frame_stops_the_generation_and_the_waiting(path: PathName) -> None:
    stack = FakeStack(hold_at=2, ignore_cancel=True)
    main_thread = threading.main_thread().ident
    assert main_thread is not None

    shown: list[Frame] = []

    def read() -> None:
        for frame in client.stream(prompt="Hi"):
            shown.append(frame)  # noqa: PERF402 - the interrupting thread looks at it meanwhile

    def interrupt() -> None:
        deadline = time.monotonic() + 10
        while len(shown) < 2 or not calls_of(client):
            assert time.monotonic() < deadline
        signal.pthread_kill(main_thread, signal.SIGINT)

    with running(stack) as endpoints, SyncClient(endpoints, path=path, token=TOKEN) as client:
        thread = threading.Thread(target=interrupt)
        thread.start()
        with pytest.raises(KeyboardInterrupt):
            read()
        thread.join()
        assert stack.cancelled.wait(10)
        deadline = time.monotonic() + 10
        while calls_of(client):
            assert time.monotonic() < deadline


def calls_of(client: SyncClient) -> set[asyncio.Task[Any]]:
    """What runs but for the open connection."""
    return {task for task in asyncio.all_tasks(client._loop) if not task.get_name().startswith("tokenstream-")}


def test_another_thread_can_cancel(path: PathName) -> None:
    stack = FakeStack(frames=numbered(start(), token("a"), complete("cancelled")), hold_at=2)
    with running(stack) as endpoints, SyncClient(endpoints, path=path, token=TOKEN) as client:
        frames = []
        for frame in client.stream(prompt="Hi"):
            frames.append(frame)
            if frame.sequence == 2:
                threading.Thread(target=client.cancel, args=[frame.session_id]).start()
    assert isinstance(frames[-1], Complete)
    assert frames[-1].stop_reason == "cancelled"


def test_connections_can_be_opened_before_anything_is_asked(path: PathName) -> None:
    stack = FakeStack()
    with running(stack) as endpoints, SyncClient(endpoints, path=path, token=TOKEN) as client:
        client.connect()
        assert stack.preflights or stack.connections
        assert stack.calls == []


def test_errors_are_raised_where_the_caller_is(path: PathName) -> None:
    stack = FakeStack()
    stack.faults.append(reject(413, "too_large"))
    with running(stack) as endpoints, SyncClient(endpoints, path=path, token=TOKEN) as client:
        with pytest.raises(RequestRejected):
            client.text(prompt="Hi")
        assert client.text(prompt="Hi") == "Hello world"


def test_closing_ends_the_thread_and_can_be_repeated(path: PathName) -> None:
    with running(FakeStack()) as endpoints:
        client = SyncClient(endpoints, path=path, token=TOKEN)
        client.text(prompt="Hi")
        client.close()
        client.close()
    assert not [thread for thread in threading.enumerate() if thread.name == "tokenstream-client"]
