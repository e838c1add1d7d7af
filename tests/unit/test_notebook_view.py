"""What models show of themselves in a notebook: well-formed, escaped, and without a view imported by a model."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import xml.etree.ElementTree as ElementTree
from dataclasses import replace

import pytest
from census_samples import bare_census
from report_samples import bare_report, memory_of, scattered_report, tree_of

import meminspect
from meminspect.models.base import Model
from meminspect.models.objects import HeaderField

EVIL = "</td><script>alert(1)</script>\x1b[31m"


def parsed(model: Model) -> ElementTree.Element:
    """Its HTML is written so that it is XML too."""
    shown = model._repr_html_()
    assert shown is not None
    return ElementTree.fromstring(f"<div>{shown}</div>")


def words(element: ElementTree.Element) -> str:
    return "".join(element.itertext())


@pytest.fixture(autouse=True)
def hung_in() -> None:
    assert meminspect.header is not None  # the first public name hangs the views in


@pytest.mark.skipif(
    bool(sysconfig.get_config_var("Py_GIL_DISABLED")), reason="free-threaded builds: references are not read yet"
)
def test_what_holds_memory_shows_itself() -> None:
    kept = [type(EVIL, (), {})() for _ in range(3)]
    shown = words(parsed(meminspect.why(EVIL, max_pause=None)))
    assert "3 objects of" in shown
    assert "\x1b" not in shown
    assert "would be empty" in words(parsed(meminspect.pinning(max_pause=None)))
    assert "object" in words(parsed(meminspect.top_retained(3, max_pause=None)))
    assert kept


def test_map_memory_header_block_and_report_show_themselves() -> None:
    heap, memory = scattered_report().pymalloc, scattered_report().memory
    assert heap is not None
    assert memory is not None
    squares = sum(path.attrib["d"].count("M") for path in parsed(heap).iter("path"))
    assert squares == len(heap.arenas)
    few = bare_report().pymalloc
    assert few is not None
    squares = sum(path.attrib["d"].count("M") for path in parsed(few).iter("path"))
    assert squares == sum(len(few.pools(arena)) for arena in few.arenas)
    assert "RSS is" in words(parsed(memory))
    assert "pymalloc" in words(parsed(memory.tree))
    value = object()
    assert hex(id(value)) in words(parsed(meminspect.header(value)))
    assert "domain" in words(parsed(meminspect.block(value)))
    assert "Where RSS goes" in words(parsed(bare_report()))


def test_a_census_shows_itself() -> None:
    shown = words(parsed(bare_census()))
    assert "live blocks" in shown
    for row in (*bare_census().types[:3],):
        assert row.name in shown


def test_names_are_escaped_and_sanitised() -> None:
    heap = bare_report().pymalloc
    assert heap is not None
    memory = replace(memory_of(tree_of(heap, {EVIL: {EVIL: 3 << 20}})), reason=EVIL, malloc=EVIL)
    header = replace(meminspect.header([]), type_name=EVIL, fields=(HeaderField(EVIL, 0, 8, 1, EVIL),))
    for model in (memory, memory.tree, replace(heap, reason=EVIL, allocator=EVIL), header):
        element = parsed(model)
        assert not list(element.iter("script"))
        assert "</td><script>alert(1)</script>\\x1b[31m" in words(element)


def test_a_model_without_a_form_shows_its_repr() -> None:
    assert bare_report().python._repr_html_() is None


def test_models_import_no_view() -> None:
    code = (
        "import sys, meminspect\n"
        "found = meminspect.header([])\n"
        "assert not [name for name in sys.modules if name.startswith('meminspect.views')], sys.modules.keys()\n"
        "assert 'refcount' in found._repr_html_() or 'reference' in found._repr_html_()\n"
        "assert 'meminspect.views.notebook' in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
