"""`gil experiment`: a workload at different switch intervals."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

from meminspect.commands._frame import Command, output_options
from meminspect.errors import MeminspectError, UsageError
from meminspect.launch.output import open_output

DEFAULT = "0.0001,0.0005,0.001,0.005,0.02,0.1"


class GilExperiment(Command):
    help = "Try a workload at different switch intervals: throughput, latency and hand-offs at each"
    about = (
        "WORKLOAD is cpu+cpu (two threads that compute), cpu+echo (an echo server for another process, beside one "
        "that computes), cpu+sleep (a thread of sleep(0) beside one that computes), ping-pong (threads and queues), "
        "or MODULE:FUNCTION of yours, which is called over and over: each call is an operation."
    )
    examples = (
        ("meminspect gil experiment cpu+echo", "requests a second and their latency against the interval"),
        ("meminspect gil experiment cpu+echo --plot echo.svg", "the same as a picture"),
        ("meminspect gil experiment mymodule:once --intervals 0.001,0.005 --json", "a workload of yours, as JSON"),
    )

    def params(self) -> list[click.Parameter]:
        return [
            click.Argument(["workload"], default="cpu+echo"),
            click.Option(["--intervals"], default=DEFAULT, show_default=True, metavar="S,S,...", help="In seconds."),
            click.Option(
                ["--seconds"], type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True,
                help="At each interval.",
            ),
            click.Option(["--plot"], metavar="FILE", help="Draw it: .png, .svg or .pdf (needs matplotlib)."),
            *output_options(),
        ]  # fmt: skip

    def run(self, options: Mapping[str, Any]) -> int:
        from meminspect.probes.gil_experiment import experiment
        from meminspect.views import gil_experiment as views

        if options["plot"]:
            if not options["plot"].endswith(views.PLOTS):
                raise UsageError(f"{options['plot']}: a plot's name ends in {', '.join(views.PLOTS)}")
            import importlib.util

            if importlib.util.find_spec("matplotlib") is None:
                raise MeminspectError("the plot needs matplotlib: pip install 'meminspect[plot]'")
        with open_output(options["output"], beside_program=False) as output:
            called, at = workload(options["workload"]), intervals(options["intervals"])
            made = experiment(called, at, seconds=options["seconds"], progress=tell)
            if options["as_json"]:
                output.write(views.render_json(made))
            else:
                color = output.color(not options["no_color"])
                output.write(views.render(made, width=output.width, color=color, unicode=output.unicode))
        if options["plot"]:
            try:
                views.plot(made, options["plot"])
            except OSError as error:
                raise MeminspectError(f"cannot write {options['plot']}: {error.strerror}") from None
        return 0


def tell(interval: float) -> None:
    """Progress, on a terminal."""
    if sys.stderr.isatty():
        print(f"\rat {interval} s ...   ", end="", file=sys.stderr, flush=True)


def intervals(text: str) -> list[float]:
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise UsageError(f"--intervals {text}: seconds, with commas between") from None


def workload(text: str) -> Any:
    """A name, or the function that MODULE:FUNCTION names."""
    module, colon, name = text.partition(":")
    if not colon:
        return text
    sys.path.insert(0, os.getcwd())
    try:
        found: Any = import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise UsageError(f"{text}: {error}") from None
    if not callable(found):
        raise UsageError(f"{text} is no function")
    return found
