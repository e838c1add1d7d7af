"""A trace of this process as a file: a timeline for a viewer, or a page."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..errors import UsageError

if TYPE_CHECKING:
    from ..probes.gil_trace import Trace

PART_BYTES = 1 << 21  # of events at a time


def save(trace: Trace, path: str, *, window: tuple[float, float] | None = None) -> None:
    """Writes a trace that was stopped: `.pftrace` (ui.perfetto.dev), `.json` or `.json.gz` (Chrome's viewers), `.html`.

    window -- seconds since the beginning: what lies outside is left out (not of a page)

    Raises UsageError for another name or a window that is none, RuntimeError before the trace was stopped, and
    OutputError when the file cannot be written; NoHtml without jinja2.
    """
    from ..launch.output import OutputFile, open_output
    from ..probes.gil_trace import names_of
    from ..views import gil_trace_html
    from ..views.gil_trace_file import NAMES, TraceFile, form_of

    result, raw = trace.result, trace.raw
    assert raw is not None  # there is a result
    if window is not None and (path.endswith(".html") or not 0 <= window[0] < window[1]):
        raise UsageError("a window is of a timeline, and has a start before its end, in seconds since the beginning")
    if path.endswith(".html"):
        page = gil_trace_html.render(result)
        with open_output(path, beside_program=False) as output:
            output.write(page)
        return
    if not path.endswith(NAMES):
        raise UsageError(f"{path}: a name ends in {', '.join(NAMES)} or .html")
    names = names_of(raw)

    def name(row: int) -> tuple[int, str]:
        native_id = raw["threads"][row]["native_id"] or 0
        return native_id, names[row] or f"thread {native_id}"

    with open_output(path, beside_program=False) as output:
        file = TraceFile(
            OutputFile(output), form_of(path), pid=raw["pid"], begin_ns=raw["begin_ns"], name=name, window=window
        )
        for at in range(0, len(raw["events"]), PART_BYTES):
            file.feed(raw["events"][at : at + PART_BYTES])
        file.finish(raw["end_ns"] - raw["begin_ns"])
