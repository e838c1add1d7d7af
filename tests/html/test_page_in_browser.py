"""The HTML page in a real browser: it draws, it is drilled into by mouse and keys, it asks the network for nothing."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Show = Callable[..., Any]

WITH_GIL = not sysconfig.get_config_var("Py_GIL_DISABLED")
# .ci/run installs chromium; what the page is given is tested in test_page.py, on every interpreter
pytestmark = [pytest.mark.ends, *([pytest.mark.required] if WITH_GIL else [])]

EVIL = "</script><img src=x onerror=alert(1)>"
PROGRAM = f"""
import threading
Evil = type({EVIL!r}, (), {{"__slots__": ("a",)}})
kept = [Evil() for _ in range(2000)]
texts = [str(number) * 4 for number in range(100_000)][::50]
class Hoard: pass
hoard = Hoard()
hoard.rows = {{number: [str(number)] for number in range(40_000)}}
event = threading.Event()
thread = threading.Thread(target=event.wait, name={EVIL!r}, daemon=True)
thread.start()
"""
READ = """(canvas) => {
  const copy = Object.assign(document.createElement("canvas"), { width: canvas.width, height: canvas.height });
  const context = copy.getContext("2d", { willReadFrequently: true });
  context.drawImage(canvas, 0, 0);
  return context.getImageData(0, 0, copy.width, copy.height).data;
}"""
PIXELS = f"""() => {{
  const data = ({READ})(document.getElementById("map-canvas"));
  const seen = new Map();
  for (let at = 0; at < data.length; at += 4) {{
    const key = [data[at], data[at + 1], data[at + 2], data[at + 3]].join();
    seen.set(key, (seen.get(key) ?? 0) + 1);
  }}
  return Object.fromEntries(seen);
}}"""
TREEMAP = f"""() => {{
  const data = ({READ})(document.querySelector("#treemap canvas"));
  let sum = 0;
  for (let at = 0; at < data.length; at++) sum = (sum * 31 + data[at]) % 1000000007;
  return sum;
}}"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    (folder / "program.py").write_text(PROGRAM)
    command = [sys.executable, "-m", "meminspect", "report", "--objects", "--html", str(folder / "page.html")]
    run = subprocess.run([*command, str(folder / "program.py")], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
    return folder / "page.html"


@pytest.fixture
def opened(show: Show, made: Path) -> Iterator[Any]:
    """The page; whatever is done with it, it says nothing to the console and asks for nothing but itself."""
    result = show(made)
    yield result
    assert result.complaints == []
    assert result.requests == [made.as_uri()]


def state(opened: Any) -> dict[str, Any]:
    found: dict[str, Any] = opened.page.evaluate("heapMap.state()")
    return found


def test_the_answer_comes_first(opened: Any) -> None:
    heading = opened.page.locator("h1")
    assert heading.inner_text().startswith("RSS ")
    size = heading.evaluate("element => parseFloat(getComputedStyle(element).fontSize)")
    others = opened.page.locator("h2").evaluate_all("all => all.map(e => parseFloat(getComputedStyle(e).fontSize))")
    assert size > max(others)
    for section in opened.page.locator("section").all():
        assert len(section.locator("h2 + .how, h2 + .note").first.inner_text()) > 20
    assert opened.page.locator("footer").inner_text().startswith("Checked:")


def test_names_of_the_program_are_text(opened: Any) -> None:
    assert opened.page.locator("img").count() == 0
    if WITH_GIL:  # the census of mimalloc may not be there
        assert opened.page.get_by_role("rowheader", name="__main__." + EVIL, exact=True).count() == 1


def test_the_map_is_drawn(opened: Any) -> None:
    opened.page.wait_for_function(f"() => Object.keys(({PIXELS})()).length > 3")  # drawn with the next frame
    pixels = opened.page.evaluate(PIXELS)
    assert max(pixels.values()) < 0.98 * sum(pixels.values())
    known = state(opened)
    assert known["arenas"] > 0
    assert known["pools"] >= known["arenas"]


def test_the_tree_is_drilled_into_by_mouse(opened: Any) -> None:
    page = opened.page
    page.locator("#treemap canvas").scroll_into_view_if_needed()
    before = page.evaluate(TREEMAP)
    box = page.locator("#treemap canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] * 0.2, box["y"] + box["height"] * 0.5)  # the largest part is on the left
    page.wait_for_function("() => document.querySelectorAll('#path button').length > 0")
    page.wait_for_function(f"(before) => ({TREEMAP})() !== before", arg=before)
    page.locator("#path button").first.click()
    page.wait_for_function("() => document.querySelectorAll('#path button').length === 0")


def test_the_tree_is_drilled_into_by_keys(opened: Any) -> None:
    page = opened.page
    first = page.locator("#tree-table button").first
    name = first.inner_text()[:-2]  # less the arrow
    first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#path [aria-current]").inner_text().startswith(name)
    assert page.evaluate("document.activeElement !== document.body")
    page.keyboard.press("Escape")
    assert page.locator("#path [aria-current]").inner_text().startswith("RSS")


def test_the_map_is_drilled_into_by_keys(opened: Any) -> None:
    page = opened.page
    page.locator("#map-canvas").focus()
    outline = page.locator("#map-canvas").evaluate("element => getComputedStyle(element).outlineStyle")
    assert outline != "none"
    page.keyboard.press("ArrowRight")  # chooses the first
    page.keyboard.press("Enter")
    near = state(opened)
    assert near["chosen"]["arena"] == 0
    assert near["scale"] > near["fitScale"] or near["arenas"] == 1
    assert "at 0x" in page.locator("#map-status").inner_text()
    page.keyboard.press("Enter")
    assert state(opened)["chosen"]["slot"] >= 0
    assert "live" in page.locator("#map-status").inner_text()
    page.keyboard.press("Enter")
    assert state(opened)["scale"] >= near["scale"]
    if WITH_GIL:
        page.keyboard.press("Enter")
        block = state(opened)["chosen"]["block"]
        assert block == 0 or "free" in page.locator("#map-status").inner_text()
    for _ in range(4):
        page.keyboard.press("Escape")
    assert state(opened)["scale"] == state(opened)["fitScale"]


def test_the_map_is_drilled_into_by_mouse_and_tells_what_is_there(opened: Any) -> None:
    page = opened.page
    page.locator("#map-canvas").scroll_into_view_if_needed()
    box = page.locator("#map-canvas").bounding_box()

    def at(slot: int) -> tuple[float, float]:
        x, y = page.evaluate(f"heapMap.pointOf(0, {slot})")
        return box["x"] + x, box["y"] + y

    page.mouse.move(*at(0))
    tip = page.locator("#tip").inner_text()
    assert " at 0x" in tip
    assert "live" in tip
    page.mouse.dblclick(*at(0))
    page.wait_for_function("() => heapMap.state().chosen.arena === 0")
    assert state(opened)["scale"] > state(opened)["fitScale"]
    if WITH_GIL:
        page.mouse.move(*at(1))
        assert "Block " in page.locator("#tip").inner_text()
    page.locator("#map-fit").click()
    assert state(opened)["scale"] == state(opened)["fitScale"]


def test_the_legend_filters_and_colours_change(opened: Any) -> None:
    page = opened.page
    page.wait_for_function(f"() => Object.keys(({PIXELS})()).length > 3")
    whole = page.evaluate(PIXELS)
    page.locator("#map-legend button").first.click()
    assert page.locator("#map-legend button[aria-pressed=true]").count() == 1
    page.wait_for_function(f"(before) => JSON.stringify(({PIXELS})()) !== JSON.stringify(before)", arg=whole)
    page.locator("#map-colour").select_option("class")
    assert page.locator("#map-legend button").count() >= 3
    page.locator("#map-order").select_option("need")


# The first live block of a drawn arena that the page names so, where it is drawn on the screen.
FIND = """(name) => {
  for (const arena of heapMap.drawnArenas()) {
    for (let slot = 0; slot < heapMap.slots(arena); slot++) {
      for (let block = 0; block < heapMap.blocks(arena, slot); block++) {
        if (heapMap.contentAt({ arena, slot, block }) === name) return { arena, slot, block };
      }
    }
  }
  return null;
}"""


def test_a_block_tells_what_it_holds(opened: Any) -> None:
    if not WITH_GIL:
        pytest.skip("the census of free-threaded builds tells no single blocks")
    page = opened.page
    page.locator("#map-canvas").scroll_into_view_if_needed()
    for name in ("__main__." + EVIL, "list: items"):
        found = page.evaluate(FIND, name)
        assert found is not None, name
        page.evaluate("(found) => heapMap.show(found)", found)
        x, y = page.evaluate("(found) => heapMap.pointOfBlock(found)", found)
        box = page.locator("#map-canvas").bounding_box()
        page.mouse.move(box["x"] + x, box["y"] + y)
        tip = page.locator("#tip").inner_text()
        assert f"Block {found['block']} at 0x" in tip
        assert "live" in tip
        assert name in tip.split("\n")
        assert "size class" in tip or " bytes" in tip


def test_the_map_is_coloured_by_content(opened: Any) -> None:
    if not WITH_GIL:
        pytest.skip("the census of free-threaded builds tells no single blocks")
    page = opened.page
    page.wait_for_function(f"() => Object.keys(({PIXELS})()).length > 3")
    before = page.evaluate(PIXELS)
    page.locator("#map-colour").select_option("content")
    names = page.locator("#map-legend button").all_inner_texts()
    assert "str" in names
    assert "unknown" in names
    page.wait_for_function(f"(before) => JSON.stringify(({PIXELS})()) !== JSON.stringify(before)", arg=before)
    coloured = page.evaluate(PIXELS)
    page.locator("#map-legend button", has_text="str").first.click()
    page.wait_for_function(f"(before) => JSON.stringify(({PIXELS})()) !== JSON.stringify(before)", arg=coloured)


def test_what_keeps_most_is_told(opened: Any) -> None:
    """The hoard, of more than half of all, by its name: in the table, and as a finding."""
    section = opened.page.locator("section", has=opened.page.locator("#h-retained"))
    assert "module __main__.hoard" in section.inner_text()
    assert section.locator("tbody tr").count() >= 5
    findings = opened.page.locator("section", has=opened.page.locator("#h-do")).inner_text()
    assert "hang under one object: module __main__.hoard" in " ".join(findings.split())


def test_what_keeps_most_of_a_snapshot(show: Show, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow")
    (tmp_path / "program.py").write_text(PROGRAM)
    for command in (
        ["snapshot", "--objects", "--max-pause", "60", "-o", "kept.mi", "program.py"],
        ["report", "--html", "page.html", "kept.mi"],
    ):
        subprocess.run([sys.executable, "-m", "meminspect", *command], cwd=tmp_path, check=True)
    result = show(tmp_path / "page.html")
    section = result.page.locator("section", has=result.page.locator("#h-retained"))
    assert "__main__.Hoard" in section.inner_text()
    assert "hang under one object" in " ".join(result.page.locator("body").inner_text().split())
    assert result.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_light_and_dark(show: Show, made: Path, scheme: str) -> None:
    page = show(made, color_scheme=scheme).page
    ground = "parseInt(getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0])"
    assert (page.evaluate(ground) > 128) == (scheme == "light")
    before = page.evaluate(TREEMAP)
    page.locator("#theme").click()
    assert (page.evaluate(ground) > 128) == (scheme == "dark")
    page.wait_for_function(f"(before) => ({TREEMAP})() !== before", arg=before)


def test_phone_width(show: Show, made: Path) -> None:
    opened = show(made, viewport={"width": 390, "height": 800}, device_scale_factor=2, has_touch=True, is_mobile=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= 390
    box = opened.page.locator("#map-canvas").bounding_box()
    assert box["width"] > 300
    opened.page.locator("#map-canvas").scroll_into_view_if_needed()
    x, y = opened.page.evaluate("heapMap.pointOf(0)")
    opened.page.locator("#map-canvas").tap(position={"x": x, "y": y})
    assert " at 0x" in opened.page.locator("#map-status").inner_text()
    assert opened.complaints == []


def test_without_unpacking_the_rest_is_there(show: Show, made: Path, tmp_path: Path) -> None:
    """A browser that cannot unpack says so where the map would be; the policy runs no script but the page's own."""
    text = made.read_text("utf-8")
    changed = tmp_path / "changed.html"
    changed.write_text(text.replace("<body>", "<body><script>window.DecompressionStream = undefined</script>", 1))
    opened = show(changed)
    assert any("Content Security Policy" in line for line in opened.complaints)
    assert opened.page.evaluate("typeof DecompressionStream") == "function"
    context = opened.page.context
    context.add_init_script("delete window.DecompressionStream")
    opened.page.reload()
    opened.page.wait_for_selector("html[data-ready]")
    assert "DecompressionStream" in opened.page.locator("#map-missing").inner_text()
    assert opened.page.locator("#treemap canvas").count() == 1
