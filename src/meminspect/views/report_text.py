"""The report as one page of text: the answer first, then where RSS is, the heaps, the collector, the GIL, what to do.

`render` is pure: the same report, width and abilities give the same string.
"""

from __future__ import annotations

from ..models.report import Report
from . import report_heap, report_tree
from .page import Page
from .report_head import answer, checked, head, process_lines, what_to_do
from .report_runtime import gc_section, gil_section, large_section

DEFAULT_WIDTH = 100


def render(report: Report, *, width: int = DEFAULT_WIDTH, color: bool = False, unicode: bool = True) -> str:
    """The whole page.

    width   -- columns, 40 to 160
    color   -- with ANSI colours: only for a terminal that has them
    unicode -- False for a terminal or a locale without block elements: the same page in ASCII
    """
    page = Page(width, color=color, unicode=unicode)
    head(page, report)
    answer(page, report)
    process_lines(page, report)
    report_tree.section(page, report)
    report_heap.section(page, report)
    large_section(page, report)
    gc_section(page, report)
    gil_section(page, report)
    what_to_do(page, report)
    checked(page, report)
    return str(page)
