"""Messages between processes, for the demo of processes: what one costs, and one that is torn."""

from __future__ import annotations

import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from typing import Any

MIB = 1 << 20
LARGE = 4  # messages of one MiB
PATIENCE_S = 60.0


def drain(receive: Callable[[], Any], done: Connection) -> None:
    while receive() is not None:
        pass
    done.send("done")


def drain_pipe(reader: Connection, done: Connection) -> None:
    drain(reader.recv, done)


def drain_queue(queue: Any, done: Connection) -> None:
    drain(queue.get, done)


def transport(context: Any, messages: int, repetitions: int) -> dict[str, Any]:
    """Seconds for each small message and for each MiB, by Pipe, Queue and shared memory; and the bytes that this
    process wrote for each MiB.
    """
    payload = b"x" * MIB
    array = memoryview(context.RawArray("B", MIB)).cast("B")
    found: dict[str, Any] = {"small": {"pipe": [], "queue": []}, "large": {"pipe": [], "queue": [], "shared": []}}
    written: dict[str, float] = {}
    for _ in range(repetitions):
        for size, items in (("small", [1] * messages), ("large", [payload] * LARGE)):
            for by, send in (("pipe", through_pipe), ("queue", through_queue)):
                before = bytes_written()
                found[size][by].append(send(context, items))
                written[by] = (bytes_written() - before) / len(items)
        before, begin = bytes_written(), time.perf_counter()
        for _ in range(LARGE):
            array[:] = payload
        found["large"]["shared"].append((time.perf_counter() - begin) / LARGE)
        written["shared"] = (bytes_written() - before) / LARGE
    return {**found, "written": written}


def bytes_written() -> int:
    """By write calls of this process, whatever they went to: wchar of /proc/self/io. One read writes nothing."""
    with open("/proc/self/io", encoding="ascii") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("wchar"))


def through_pipe(context: Any, items: list[Any]) -> float:
    reader, writer = context.Pipe(duplex=False)
    return timed(context, drain_pipe, reader, writer.send, items)


def through_queue(context: Any, items: list[Any]) -> float:
    queue = context.Queue()
    seconds = timed(context, drain_queue, queue, queue.put, items)
    queue.close()
    queue.join_thread()  # what is forked next must not begin with a copy of its locks
    return seconds


def timed(
    context: Any, target: Callable[..., None], source: Any, send: Callable[[Any], None], items: list[Any]
) -> float:
    told, done = context.Pipe(duplex=False)
    process = context.Process(target=target, args=(source, done))
    process.start()
    begin = time.perf_counter()
    for item in items:
        send(item)
    send(None)
    told.recv()
    seconds = time.perf_counter() - begin
    process.join()
    return seconds / len(items)


def send_and_hang(writer: Connection, payload: bytes) -> None:
    writer.send_bytes(payload)


def torn(context: Any) -> dict[str, Any]:
    """A process is terminated in the middle of a message that is larger than a pipe holds."""
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=send_and_hang, args=(writer, b"x" * LARGE * MIB))
    process.start()
    writer.close()
    begun = reader.poll(PATIENCE_S)
    process.terminate()
    process.join()
    try:
        reader.recv_bytes()
    except (EOFError, OSError) as error:
        return {"begun": begun, "error": f"{type(error).__name__} {error}".strip()}
    return {"begun": begun, "error": None}
