"""analysis/code_lines.py, held against what the running interpreter itself says of its code objects."""

from __future__ import annotations

import ast
import inspect
import textwrap
import threading
import types
from collections.abc import Iterator

import pytest

from meminspect.analysis.code_lines import Lines


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from codes(constant)


@pytest.mark.parametrize("module", [threading, inspect, textwrap, ast])
def test_every_instruction_has_the_line_that_the_interpreter_gives_it(module: types.ModuleType) -> None:
    seen = 0
    for code in codes(compile(inspect.getsource(module), module.__name__, "exec")):
        lines = Lines(code.co_linetable, code.co_firstlineno)
        expected = [position[0] for position in code.co_positions()]
        assert [lines.line(at) for at in range(len(expected))] == expected
        seen += len(expected)
    assert seen > 500


def test_a_table_that_is_cut_has_no_line_behind_its_end() -> None:
    assert Lines(b"", 1).line(0) is None
    assert Lines(bytes([0x80 | 14 << 3, 0x41]), 7).line(1) is None
    assert Lines(bytes([0x80 | 11 << 3 | 1, 0, 0]), 7).line(1) == 8
