"""The types of the native core's door. tests/packaging/test_stub.py holds names and parameters against the module.

What a function returns is plain values, as its docstring in native/*.pxi tells; `Raw` is a value that marshal can carry.
"""

from typing import Any, TypeAlias

Raw: TypeAlias = Any

class NativeError(OSError):
    code: str
    def __init__(self, code: str, text: str) -> None: ...

def read_memory(address: int, size: int, pid: int = 0) -> bytes: ...
def read_method(pid: int = 0) -> str | None: ...
def read_method_reset() -> None: ...
