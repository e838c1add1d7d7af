"""`gil`: the GIL, traced, watched, and tried out at other switch intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from meminspect.commands._frame import Command, CommandGroup
from meminspect.commands._gil_experiment import GilExperiment
from meminspect.commands._gil_run import GilRun
from meminspect.commands._gil_top import GilTop


class GilCommand(CommandGroup):
    help = "Trace the GIL: who holds it, who waits, what each switch was for"
    commands: ClassVar[Mapping[str, type[Command]]] = {"run": GilRun, "top": GilTop, "experiment": GilExperiment}
