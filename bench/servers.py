"""gunicorn with two workers under load, one of them stuck in a C call: a report from each by signal, and from outside.

    python bench/servers.py [--keep FOLDER]

Needs gunicorn in the same environment. Prints one line a step and one a report; the exit status is 1 when a worker did
not answer as docs/guides/servers.md says it does. tests/robustness/test_servers.py runs it.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

SIGNAL = signal.SIGRTMIN + 5
PATIENCE_S = 60.0

APPLICATION = """
import os

def application(environ, start_response):
    if environ["PATH_INFO"] == "/stuck":
        with open("stuck.pid", "w") as file:
            print(os.getpid(), file=file)
        sum(range(10 ** 10))
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"%d" % os.getpid()]
"""

CONFIGURATION = """
workers = 2
bind = "127.0.0.1:0"
timeout = 600
control_socket_disable = True
loglevel = "info"

def post_worker_init(worker):
    import signal
    import meminspect
    meminspect.install(signal=signal.SIGRTMIN + 5, path="report-{pid}.json")
    with open(f"worker-{worker.pid}", "w"):
        pass

def when_ready(server):
    port = server.LISTENERS[0].sock.getsockname()[1]
    with open("port.new", "w") as file:
        print(port, file=file)
    import os
    os.rename("port.new", "port")
"""


class Failed(Exception):
    """A step did not go as documented."""


def wait_for(what: Callable[[], Any], name: str) -> Any:
    """The first true value of what()."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        value = what()
        if value:
            return value
        time.sleep(0.02)
    raise Failed(f"{name} did not happen within {PATIENCE_S:.0f} s")


def get(port: int, path: str, timeout: float = PATIENCE_S) -> int:
    """The pid of the worker that answered."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        return int(connection.getresponse().read())
    finally:
        connection.close()


@contextmanager
def gunicorn(folder: Path) -> Iterator[tuple[int, list[int]]]:
    """A server in the folder: its port and the pids of its workers, each with install() behind it."""
    (folder / "application.py").write_text(APPLICATION)
    (folder / "gunicorn.conf.py").write_text(CONFIGURATION)
    command = [sys.executable, "-m", "gunicorn", "application:application"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(os.path.abspath(entry) for entry in sys.path if entry)}
    with open(folder / "server.log", "w") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:

            def workers() -> list[int] | None:
                if server.poll() is not None:
                    raise Failed(f"gunicorn ended with {server.returncode}: {(folder / 'server.log').read_text()}")
                found = sorted(int(path.name.partition("-")[2]) for path in folder.glob("worker-*"))
                return found if len(found) == 2 and (folder / "port").exists() else None

            pids = wait_for(workers, "the start of two workers")
            yield int((folder / "port").read_text()), pids
        finally:
            with suppress(ProcessLookupError):
                os.killpg(server.pid, signal.SIGKILL)
            server.wait()


@contextmanager
def load(port: int) -> Iterator[list[int]]:
    """Requests one after another in a thread of their own; the list holds the pid of each answer."""
    answers: list[int] = []
    ending = threading.Event()

    def ask() -> None:
        while not ending.is_set():
            try:
                answers.append(get(port, "/", timeout=2))
            except OSError:  # it was given to the worker that is stuck
                continue

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        ending.set()
        thread.join()


def read(path: Path, partial: bool) -> dict[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_text())
    except FileNotFoundError:
        return None
    return document if document["partial"] is partial else None


def describe(document: dict[str, Any]) -> str:
    memory, heap, gil = document["memory"], document["pymalloc"], document["gil"]
    resident = f"RSS {memory['rss_bytes']:,}" if memory else f"no memory ({document['memory_reason']})"
    arenas = f"{len(heap['arenas'])} arenas" if heap else f"no pymalloc ({document['pymalloc_reason']})"
    holder = gil["holder_native_id"] if gil else document["gil_reason"]
    return f"pid {document['process']['pid']}: {resident}, {arenas}, GIL held by {holder}"


def outside(pid: int) -> dict[str, Any]:
    """`report --pid` of a worker."""
    command = [sys.executable, "-m", "meminspect", "report", "--json", "--pid", str(pid)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise Failed(f"report --pid {pid} ended with {done.returncode}: {done.stderr.strip()}")
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def run(folder: Path, say: Callable[[str], None]) -> dict[str, dict[str, Any]]:
    """All steps; the four reports by name: stuck, idle, stuck from outside, idle from outside."""
    with gunicorn(folder) as (port, workers), load(port) as answers:
        wait_for(lambda: len(answers) > 50, "fifty answers")
        threading.Thread(target=lambda: quietly(port), daemon=True).start()
        stuck = int(wait_for(lambda: text_of(folder / "stuck.pid"), "a stuck worker"))
        (idle,) = set(workers) - {stuck}
        say(f"two workers under load: {stuck} is stuck in sum(range(10**10)), {idle} answers")
        reports: dict[str, dict[str, Any]] = {}
        begun = time.monotonic()
        for pid in workers:
            os.kill(pid, SIGNAL)
        reports["stuck"] = wait_for(lambda: read(folder / f"report-{stuck}.json", True), "the stuck worker's report")
        say(f"by signal, {time.monotonic() - begun:.3f} s: {describe(reports['stuck'])}, partial")
        reports["idle"] = wait_for(lambda: read(folder / f"report-{idle}.json", False), "the other worker's report")
        say(f"by signal, {time.monotonic() - begun:.3f} s: {describe(reports['idle'])}, whole")
        if reports["stuck"]["gil"]["holder_native_id"] != stuck:
            raise Failed("the stuck worker's report does not name its main thread as the holder of the GIL")
        for name, pid in (("stuck", stuck), ("idle", idle)):
            begun = time.monotonic()
            reports[f"{name} from outside"] = outside(pid)
            say(f"--pid, {time.monotonic() - begun:.3f} s: {describe(reports[f'{name} from outside'])}")
        seen = len(answers)
        wait_for(lambda: len(answers) > seen + 10, "answers after the reports")
        say(f"{len(answers)} requests were answered meanwhile")
        return reports


def quietly(port: int) -> None:
    """Sends the request that sticks; it is never answered."""
    try:
        get(port, "/stuck")
    except (OSError, http.client.HTTPException):
        return


def text_of(path: Path) -> str:
    return path.read_text().strip() if path.exists() else ""


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--keep", metavar="FOLDER", type=Path, help="a new folder: the reports and the server's log stay there"
    )
    arguments = parser.parse_args()
    if arguments.keep and arguments.keep.exists():
        parser.error(f"{arguments.keep} exists already")
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.keep or Path(temporary, "server")
        folder.mkdir(parents=True)
        try:
            run(folder, lambda line: print(line, flush=True))
        except Failed as failure:
            print(f"servers.py: {failure}", file=sys.stderr)
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
