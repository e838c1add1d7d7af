"""How figures are written."""

from __future__ import annotations

import pytest

from meminspect.analysis.words import amount, count, mib, percent, seconds, size


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (512, "512 bytes"),
        (1536, "1.5 KiB"),
        (216 << 10, "216 KiB"),
        (3 << 20, "3.0 MiB"),
        (36 << 20, "36 MiB"),
        (5 << 30, "5,120 MiB"),
    ],
)
def test_size(value: int, written: str) -> None:
    assert size(value) == written


@pytest.mark.parametrize(
    ("share", "written"),
    [(0, "0.0 %"), (0.0001, "< 0.1 %"), (0.001, "0.1 %"), (0.5, "50.0 %"), (0.9999, "> 99.9 %"), (1, "100.0 %")],
)
def test_percent_does_not_round_to_nothing_or_all(share: float, written: str) -> None:
    assert percent(share) == written


@pytest.mark.parametrize(
    ("value", "written"),
    [
        (0, "0 s"),
        (241e-9, "241 ns"),
        (0.9996e-6, "1 us"),
        (87e-6, "87 us"),
        (0.005, "5 ms"),
        (3.21, "3.2 s"),
        (600, "10 min"),
    ],
)
def test_seconds(value: float, written: str) -> None:
    assert seconds(value) == written


def test_count_and_mib() -> None:
    assert count(1, "arena") == "1 arena"
    assert count(1387, "arena") == "1,387 arenas"
    assert count(2, "process", "processes") == "2 processes"
    assert mib(1 << 30) == "1,024.0"


@pytest.mark.parametrize(
    ("value", "text"),
    [(0, "0 MiB"), (1, "< 0.1 MiB"), (300 << 10, "0.3 MiB"), (5 << 20, "5.0 MiB"), (5000 << 20, "5,000 MiB")],
)
def test_amounts_have_one_unit(value: int, text: str) -> None:
    assert amount(value) == text
