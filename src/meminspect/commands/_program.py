"""Commands that run a program: it is run, its documents are written, and the command ends as the program ended."""

from __future__ import annotations

from collections.abc import Callable
from typing import NoReturn

from meminspect.commands._frame import complain
from meminspect.errors import MeminspectError
from meminspect.launch.hook import Order
from meminspect.launch.measured import OnTaking, Outcome, run
from meminspect.launch.output import Output
from meminspect.launch.program import Program
from meminspect.launch.records import Record
from meminspect.launch.watch import leave

Render = Callable[[Record, Outcome], str]


def run_program(
    program: Program,
    order: Order,
    output: Output,
    render: Render,
    *,
    flags: tuple[str, ...] = (),
    word: str | None = None,
    on_taking: OnTaking | None = None,
) -> NoReturn:
    """Runs a program whose output is open already, and writes what `render` makes of its records.

    Whatever becomes of the writing, the status is the program's. Errors before it starts are raised.
    """
    trouble: list[str] = []

    def write(record: Record, outcome: Outcome) -> None:
        if trouble:
            return
        try:
            output.write(render(record, outcome))
        except MeminspectError as error:
            trouble.append(str(error))
        except Exception as error:  # the program's status is worth more than our traceback
            trouble.append(f"the result could not be shown: {type(error).__name__}: {error}")

    try:
        outcome = run(program, order, on_way=write, flags=flags, word=word, on_taking=on_taking)
    except BaseException:
        output.discard()
        raise
    if outcome.last is not None:
        write(outcome.last, outcome)
    if not outcome.final:
        trouble.append(outcome.note or "no result")
    try:
        output.close()
    except MeminspectError as error:
        trouble.append(str(error))
    for text in trouble:
        complain("meminspect", text)
    leave(outcome.status)
