"""One report as one HTML file that needs nothing else: no network, no other file, no server.

The answer, every table and every sentence are in the file as text; the pictures are drawn from tables embedded beside
them. A strict Content-Security-Policy names the file's own scripts and style by their hashes, so that nothing else runs
and nothing is fetched. Text of the inspected program passes the sanitiser and then the template's escaping.
"""

from __future__ import annotations

from base64 import b64encode
from functools import cache
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ..errors import MeminspectError
from ..models.report import Report
from . import html_sections
from .html_heap import tables
from .palette import CONTENTS, OCCUPANCY
from .report_head import doubts, headline, subject
from .sanitize import TEXT_LIMIT, clean

if TYPE_CHECKING:
    from jinja2 import Environment

    from ..models.census import Census
    from ..models.contents import Contents
    from ..models.references import RetainedSizes

SCRIPTS = ("echarts.min.js", "page.js", "heap_map.js", "start.js")
TEMPLATE = "page.html.jinja"


class NoHtml(MeminspectError):
    """What makes the page is not installed."""


def environment() -> Environment:
    """The templates, with escaping; jinja2 (the extra `html`) is imported only here. Raises NoHtml without it."""
    try:
        from jinja2 import Environment, PackageLoader, StrictUndefined
    except ImportError:
        raise NoHtml("the HTML page needs jinja2: pip install 'meminspect[html]'") from None
    return Environment(
        loader=PackageLoader("meminspect.views", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: clean(value, TEXT_LIMIT) if type(value) is str else value,
    )


@cache
def asset(name: str) -> str:
    """One file of views/assets as text that may stand inside its element."""
    text = files("meminspect.views").joinpath("assets", name).read_text("utf-8")
    return text.replace("</script", "<\\/script").replace("<!--", "<\\!--") if name.endswith(".js") else text


def digest(text: str) -> str:
    """A source expression of Content-Security-Policy for an inline script or style."""
    return f"'sha256-{b64encode(sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


def policy(scripts: list[str], style: str) -> str:
    return "; ".join(
        [
            "default-src 'none'",
            f"script-src {' '.join(map(digest, scripts))}",
            f"style-src {digest(style)}",
            "img-src data:",
            "base-uri 'none'",
            "form-action 'none'",
        ]
    )


def render(
    report: Report,
    *,
    census: Census | None = None,
    contents: Contents | None = None,
    top: RetainedSizes | str | None = None,
    only_map: bool = False,
) -> str:
    """The whole file.

    census   -- adds what is in the blocks, by type
    contents -- what is in each block of the arenas that are drawn block by block
    top      -- adds what would go with single objects; a text: why that is not known
    only_map -- the arenas and size classes alone (`map --html`)

    Raises NoHtml without jinja2.
    """
    made = environment()
    from markupsafe import Markup

    heap = report.pymalloc
    scripts = [asset(name) for name in SCRIPTS]
    style = asset("page.css")
    sections = html_sections.all_of(report, census, top, only_map=only_map)
    data: dict[str, Any] = {
        "occupancy": [{"label": step.label, "light": step.light, "dark": step.dark} for step in OCCUPANCY],
        "contents": [
            {"light": light, "dark": dark} for light, dark, _ in CONTENTS[: len(contents.names) if contents else 0]
        ],
        "tree": None if only_map or report.memory is None else html_sections.tree(report.memory.tree),
        "heap": tables(heap, contents) if heap is not None and heap.arenas else None,
        "words": sections["words"],
        "classes": sections["size_classes"],
    }
    return made.get_template(TEMPLATE).render(
        title=" · ".join(subject(report)[1:3]),
        subject=subject(report),
        answer=html_sections.map_headline(report) if only_map else headline(report),
        doubts=doubts(report),
        only_map=only_map,
        data=data,
        policy=Markup(policy(scripts, style)),
        scripts=[Markup(text) for text in scripts],
        style=Markup(style),
        **sections,
    )
