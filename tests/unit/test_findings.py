"""Each finding on figures made for it, and none on those that are not."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from report_samples import (
    KIB,
    MIB,
    bare_report,
    gc_state,
    gil_counters,
    heap_of,
    malloc_arena,
    memory_of,
    parent,
    process_info,
    report_of,
    scattered_report,
    tree_of,
)

from meminspect.analysis.findings import RULES
from meminspect.models.heap import CrossCheck, HeapMap, OmittedInterpreter
from meminspect.models.memory import Cgroup, MemoryNode
from meminspect.models.report import Finding, PythonInfo, Report


def ids(report: Report) -> list[str]:
    return [finding.id for finding in report.findings]


def one(report: Report, name: str) -> Finding:
    return next(finding for finding in report.findings if finding.id == name)


def quiet_heap() -> HeapMap:
    return heap_of([[(64, 255)] * 63])


def small(others: dict[str, int | dict[str, int]] | None = None, **changes: Any) -> Report:
    """A process with one full arena and what is asked for."""
    heap = quiet_heap()
    return report_of(heap, memory_of(tree_of(heap, others or {"glibc malloc": {"live chunks": 2 * MIB}}), **changes))


def malloc_report(*, free: int, trim: int, allocator: str = "pymalloc", live_chunks: int = 40_000) -> Report:
    heap = replace(quiet_heap(), allocator=allocator)
    tree = tree_of(heap, {"glibc malloc": {"live chunks": 3 * MIB, "free chunks": free}})
    arena = malloc_arena(live=3 * MIB, free=free, trim=trim, live_chunks=live_chunks)
    memory = memory_of(tree, malloc_arenas=(arena,), trim_would_return_bytes=trim)
    return report_of(heap, memory)


def test_a_process_that_holds_nothing_back_is_told_what_it_consists_of() -> None:
    report = bare_report()
    assert ids(report)[0] == "rss_composition"
    assert "files" in report.findings[0].text
    assert "pymalloc_fragmentation" not in ids(report)
    assert "glibc_retained" not in ids(report)


def test_the_chunk_at_the_end_of_the_heap_is_named() -> None:
    report = malloc_report(free=80 * MIB, trim=78 * MIB)
    assert report.memory is not None
    assert "heap's end" not in one(report, "glibc_retained").text
    [arena] = report.memory.malloc_arenas
    held = replace(arena, holder=0x7E0000001000, holder_bytes=720, holder_type="bytes")
    found = one(report_of(quiet_heap(), replace(report.memory, malloc_arenas=(held,))), "glibc_retained")
    assert "an object of bytes of 720 bytes at 0x7e0000001000" in found.text
    assert found.figures["holder_bytes"] == 720
    unnamed = replace(report.memory, malloc_arenas=(replace(held, holder_type=None),))
    assert "a live chunk of 720 bytes" in one(report_of(quiet_heap(), unnamed), "glibc_retained").text
    mostly_top = replace(report.memory, malloc_arenas=(replace(held, top_bytes=79 * MIB, free_bytes=MIB),))
    assert "heap's end" not in one(report_of(quiet_heap(), mostly_top), "glibc_retained").text


def test_scattered_survivors_are_the_answer() -> None:
    lead = scattered_report().findings[0]
    assert lead.id == "pymalloc_fragmentation"
    assert "39,690 live blocks of 208 bytes keep 810 of its 815 arenas" in lead.text
    assert lead.figures["free_bytes"] == 810 * (49 * 77 * 208 + 14 * 16 * KIB) + 5 * 3 * 16 * KIB
    assert lead.try_ is not None


def test_free_blocks_without_sparse_arenas_are_explained_by_packing() -> None:
    heap = heap_of([[(64, 128)] * 63 for _ in range(20)])
    report = report_of(heap, memory_of(tree_of(heap, {})))
    lead = report.findings[0]
    assert lead.id == "pymalloc_fragmentation"
    assert "spread over 20 arenas and would fit in 11" in lead.text


def test_whole_free_pools_are_a_finding_of_their_own() -> None:
    found = one(scattered_report(), "pymalloc_free_pools")
    assert found.figures["free_pools"] == 810 * 14 + 5 * 3


def test_most_of_it_alive_names_the_size_class() -> None:
    heap = heap_of([[(48, 340)] * 63 for _ in range(100)])
    report = report_of(heap, memory_of(tree_of(heap, {"glibc malloc": {"live chunks": 2 * MIB}})))
    assert report.findings[0].id == "rss_composition"
    assert f"{340 * 63 * 100:,} live blocks of 48 bytes" in report.findings[0].text


@pytest.mark.parametrize(
    ("free", "trim", "words"),
    [
        (
            200 * MIB,
            196 * MIB,
            ("glibc keeps 200 MiB", "malloc_trim(0) would return 196 MiB", "live chunks lie behind"),
        ),
        (200 * MIB, 120 * MIB, ("would return 120 MiB", "40,000 live chunks scattered", "the other 80 MiB")),
        (80 * MIB, 0, ("no trim returns it", "40,000 live chunks scattered among the free ones keep its pages")),
    ],
)
def test_free_memory_of_glibc(free: int, trim: int, words: tuple[str, ...]) -> None:
    lead = malloc_report(free=free, trim=trim).findings[0]
    assert lead.id == "glibc_retained"
    for text in words:
        assert text in lead.text
    assert lead.figures["pinned_bytes"] == free - trim
    assert "MALLOC_MMAP_THRESHOLD_" in (lead.try_ or "")


def test_a_large_top_is_kept_by_the_trim_threshold() -> None:
    heap = quiet_heap()
    tree = tree_of(heap, {"glibc malloc": {"live chunks": 3 * MIB, "top": 50 * MIB}})
    arena = malloc_arena(free=50 * MIB, trim=50 * MIB, free_bytes=0, top_bytes=50 * MIB)
    report = report_of(heap, memory_of(tree, malloc_arenas=(arena,), trim_would_return_bytes=50 * MIB))
    assert "most of it is the end of a heap" in report.findings[0].text
    assert "MALLOC_TRIM_THRESHOLD_" in (report.findings[0].try_ or "")


def test_under_pythonmalloc_malloc_pymalloc_is_what_to_try() -> None:
    report = malloc_report(free=200 * MIB, trim=100 * MIB, allocator="malloc")
    assert "PYTHONMALLOC=pymalloc" in (report.findings[0].try_ or "")
    assert "pymalloc_off" in ids(report)


def test_small_amounts_are_no_finding() -> None:
    assert ids(malloc_report(free=3 * MIB, trim=3 * MIB))[0] == "rss_composition"


def test_what_casts_doubt_comes_right_behind_the_answer() -> None:
    heap = replace(
        quiet_heap(),
        cross_check=CrossCheck("CPython's own statistics", False, None, 32, (("used of 64", 5, 6),)),
        omitted=(OmittedInterpreter(3, "it has a GIL of its own"),),
    )
    memory = memory_of(tree_of(heap, {"unattributed": MIB}))
    report = report_of(heap, replace(memory, rss_bytes=memory.rss_bytes * 2), missing={"gc": "not captured"}, gc=None)
    concerns = [finding.concern for finding in report.findings]
    assert concerns[0] == "memory"
    assert set(ids(report)[1:6]) == {"cross_check", "omitted_interpreters", "unattributed", "partial", "tree_sum"}
    assert concerns[1:6] == ["trust"] * 5
    assert "used of 64: 5 walked, 6 there" in one(report, "cross_check").text
    assert "gc: not captured" in one(report, "partial").text


def test_unattributed_is_quiet_within_what_is_promised() -> None:
    heap = quiet_heap()
    within = memory_of(tree_of(heap, {"glibc malloc": {"live chunks": 99 * MIB}, "unattributed": 200 * KIB}))
    assert "unattributed" not in ids(report_of(heap, within))


def test_sections_missing_for_one_reason_are_named_together() -> None:
    report = report_of(None, None, gc=None, gil=None, missing=dict.fromkeys(("memory", "large", "gc"), "gone"))
    assert "memory, large, gc: gone" in one(report, "partial").text


GROUP = Cgroup("/app", 2, 2000 * MIB, 2048 * MIB, None, None, None, None, None, 2, 1, 48 * MIB)


@pytest.mark.parametrize(
    ("name", "report", "text"),
    [
        ("cgroup_near_limit", small(cgroup=GROUP), "Only 48 MiB are left"),
        ("cgroup_oom_kills", small(cgroup=replace(GROUP, headroom_bytes=1500 * MIB)), "killed 1 process"),
        ("swap", small(swap_bytes=50 * MIB), "50 MiB of this process is in swap"),
        ("peak", small(peak_rss_bytes=500 * MIB), "The peak was 500 MiB"),
        ("another_malloc", small(malloc="jemalloc", malloc_arenas=()), "malloc is jemalloc"),
        (
            "cached_stacks",
            small({"thread stacks": {"cached stacks of ended threads": 8 * MIB}}),
            "8.0 MiB is resident in stacks",
        ),
        ("file_pages", small({"files": {"libc.so.6": 9 * MIB}}), "pages of libraries"),
        (
            "glibc_tcache",
            small(malloc_arenas=(malloc_arena(tcache_bytes=2 * MIB, tcache_chunks=900),)),
            "900 freed chunks",
        ),
        (
            "glibc_many_arenas",
            small(malloc_arenas=tuple(malloc_arena(f"thread {n}" if n else "main", free=MIB) for n in range(33))),
            "32 malloc arenas of threads keep 32 MiB free",
        ),
        (
            "glibc_mmapped",
            small(mmapped_chunks=80, mmapped_bytes=80 * MIB),
            "80 large blocks (80 MiB of address space)",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) and "_" in value else "",
)
def test_process_and_malloc(name: str, report: Report, text: str) -> None:
    assert text in one(report, name).text


def with_generation(index: int, **changes: Any) -> Any:
    state = gc_state()
    generations = list(state.generations)
    generations[index] = replace(generations[index], **changes)
    return tuple(generations)


@pytest.mark.parametrize(
    ("name", "changes", "text"),
    [
        ("gc_disabled", {"enabled": False}, "812 allocations more"),
        ("gc_overdue", {"generations": with_generation(0, count=20_000)}, "20,000 allocations"),
        ("gc_threshold_zero", {"generations": with_generation(0, threshold=0)}, "no collection starts by itself"),
        ("gc_full_deferred", {"generations": with_generation(2, count=11)}, "a quarter of 18,000 must"),
        ("gc_frozen", {"frozen": 200_000}, "200,000 objects are frozen"),
        ("gc_uncollectable", {"generations": with_generation(1, uncollectable=4)}, "4 objects in cycles"),
    ],
)
def test_collector(name: str, changes: dict[str, Any], text: str) -> None:
    heap = quiet_heap()
    memory = memory_of(tree_of(heap, {}))
    assert text in one(report_of(heap, memory, gc=gc_state(**changes)), name).text
    assert name not in ids(report_of(heap, memory))


def test_gil() -> None:
    heap = quiet_heap()
    memory = memory_of(tree_of(heap, {}))
    busy = report_of(heap, memory, gil=(gil_counters(tstate_switches=90 * 20_000),))
    assert "20,000 times a second" in one(busy, "gil_busy").text
    young = process_info(started_s=1700000089.9)
    assert "gil_busy" not in ids(report_of(heap, memory, gil=(gil_counters(tstate_switches=10**6),), process=young))
    assert "gil_interval" in ids(report_of(heap, memory, gil=(gil_counters(switch_interval_s=1e-4),)))
    assert "gil_interval" not in ids(
        report_of(heap, memory, gil=(gil_counters(switch_interval_s=1e-4, enabled=False),))
    )


def test_debug_padding_and_untouched() -> None:
    heap = replace(quiet_heap(), allocator="pymalloc_debug", padding_bytes=24)
    report = report_of(heap, memory_of(tree_of(heap, {})))
    assert "adds 24 bytes to each of 16,065 live blocks: 377 KiB" in one(report, "debug_padding").text
    assert report.large is not None
    assert report.large.threshold_bytes == 512 - 24
    huge = MemoryNode("RSS", 20 * MIB, 0, None, (parent("pymalloc", {"live blocks": MIB, "untouched": 19 * MIB}),))
    report = report_of(replace(quiet_heap(), arena_size=2 * MIB), memory_of(huge))
    assert report.findings[0].id == "pymalloc_untouched_resident"


def test_empty_arenas() -> None:
    heap = heap_of([[(64, 255)] * 63, *([[]] * 40)])
    assert one(report_of(heap, None, missing={"memory": "x"}), "pymalloc_empty_arenas").figures["arenas"] == 40


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_no_rule_needs_what_may_be_missing(rule: Any) -> None:
    python = PythonInfo("3.13.0", "CPython", False, False, "unknown", None)
    nothing = Report("0", python, process_info(started_s=None), None, None, None, None, None, (), {})
    assert rule(nothing) is None
    heap = quiet_heap()
    rule(replace(nothing, pymalloc=heap))
    rule(replace(nothing, memory=memory_of(tree_of(heap, {}), malloc_arenas=(), cgroup=None, peak_rss_bytes=None)))


@pytest.mark.parametrize("report", [bare_report(), scattered_report(), malloc_report(free=200 * MIB, trim=0)])
def test_every_finding_is_one_clean_sentence_with_its_figures(report: Report) -> None:
    assert len(set(ids(report))) == len(report.findings)
    for finding in report.findings:
        assert finding.text.endswith(".")
        assert "  " not in finding.text
        assert finding.figures
