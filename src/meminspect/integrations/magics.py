"""The magics of `%load_ext meminspect` about memory: %memory, %heapmap, %explain and %%growth."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ..models.explain import Explanation
    from ..models.growth import Growth
    from ..models.heap import HeapMap
    from ..models.memory import MemoryBreakdown


def load(shell: Any) -> None:
    """Registers the magics with IPython's shell."""

    def explain(line: str) -> Explanation:
        """Header, block, neighbours and holders of an object, and when it will be freed.

        %explain EXPRESSION     of the notebook's names; in `Out` and by a name it has one more reference
        """
        from ..probes.explain import explain as explained

        return explained(shell.ev(line))

    def growth(line: str, cell: str) -> Growth:
        """Which types grew by how many objects and bytes while a cell ran."""
        from ..probes.growth import growth as measured

        with measured() as span:
            shell.run_cell(cell)
        found: Growth = span.result
        return found

    lines: tuple[Callable[[str], Any], ...] = (memory, heapmap, explain)
    for function in lines:
        shell.register_magic_function(function, "line", function.__name__)
    shell.register_magic_function(growth, "cell", "growth")


def memory(line: str) -> MemoryBreakdown:
    """Where the resident memory of this kernel is."""
    from ..probes.memory import memory as measured

    return measured()


def heapmap(line: str) -> HeapMap:
    """The arenas and pools of this kernel."""
    from ..probes.heap import heap_map

    return heap_map()
