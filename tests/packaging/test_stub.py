"""The typed stub of the native module is what type checkers believe: it must say what the module has."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import meminspect._native as native

STUB = Path(native.__file__).with_name("_native.pyi")


def parameters_of(function: ast.FunctionDef) -> list[tuple[str, bool]]:
    """Name of each parameter of a stub's function, and whether it may be left out."""
    spec = function.args
    plain = [*spec.posonlyargs, *spec.args]
    required = len(plain) - len(spec.defaults)
    found = [(argument.arg, index >= required) for index, argument in enumerate(plain)]
    keyword_only = zip(spec.kwonlyargs, spec.kw_defaults, strict=True)
    return found + [(argument.arg, default is not None) for argument, default in keyword_only]


def test_stub_names_what_the_module_has() -> None:
    body = ast.parse(STUB.read_text()).body
    declared = {node.name: node for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    there = {name for name in vars(native) if callable(getattr(native, name))}
    public = {name for name in there if not name.startswith("_")}
    assert public - declared.keys() == set(), "add these to src/meminspect/_native.pyi"
    assert declared.keys() - there == set(), "these are in src/meminspect/_native.pyi alone"
    for name, node in declared.items():
        if isinstance(node, ast.FunctionDef):
            actual = inspect.signature(getattr(native, name)).parameters.values()
            found = [(parameter.name, parameter.default is not inspect.Parameter.empty) for parameter in actual]
            assert parameters_of(node) == found, name
