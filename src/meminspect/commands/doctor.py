"""`doctor`: what is exact on this interpreter and machine, and what is not. A bug report starts with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from meminspect.commands._frame import Command, output_options
from meminspect.launch.output import open_output


class DoctorCommand(Command):
    help = "What is exact on this interpreter and machine, and what is not"
    about = (
        "Names the layout of CPython's structures that is used and the facts that verified it, and what is permitted."
    )
    examples = (
        ("meminspect doctor", "a page"),
        ("meminspect doctor --json", "what belongs into a bug report"),
    )

    def params(self) -> list[click.Parameter]:
        return output_options()

    def run(self, options: Mapping[str, Any]) -> int:
        output = open_output(options["output"], beside_program=False)
        try:
            from meminspect.probes.doctor import doctor
            from meminspect.views import doctor_json, doctor_text

            if options["as_json"]:
                text = doctor_json.render(doctor())
            else:
                color = output.color(not options["no_color"])
                text = doctor_text.render(doctor(), width=output.width, color=color, unicode=output.unicode)
            output.write(text.rstrip("\n") + "\n")
            output.close()
        except BaseException:
            output.discard()
            raise
        return 0
