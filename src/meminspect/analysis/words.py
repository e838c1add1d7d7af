"""How figures are written in text: one unit for memory (MiB, as top, docker and the kernel count), thousands apart."""

from __future__ import annotations

MIB = 1 << 20
KIB = 1 << 10


def mib(value: int, digits: int = 1) -> str:
    """Bytes in MiB, without the unit."""
    return f"{value / MIB:,.{digits}f}"


def size(value: int) -> str:
    """Bytes with the unit that suits a sentence: '36 MiB', '3.1 MiB', '216 KiB', '512 bytes'."""
    if abs(value) >= 10 * MIB:
        return f"{value / MIB:,.0f} MiB"
    if abs(value) >= MIB:
        return f"{value / MIB:.1f} MiB"
    if abs(value) >= 10 * KIB:
        return f"{value / KIB:.0f} KiB"
    if abs(value) >= KIB:
        return f"{value / KIB:.1f} KiB"
    return f"{value} byte" if value == 1 else f"{value} bytes"


def amount(value: int) -> str:
    """Memory of a process, always in MiB: '36 MiB', '3.1 MiB', '0.2 MiB', '< 0.1 MiB', '0 MiB'."""
    if abs(value) >= 10 * MIB or value == 0:
        return f"{value / MIB:,.0f} MiB"
    if abs(value) < MIB / 20:
        return "< 0.1 MiB"
    return f"{value / MIB:.1f} MiB"


def count(value: int, noun: str, plural: str | None = None) -> str:
    """'1 arena', '1,387 arenas'."""
    return f"{value:,} {noun if value == 1 else plural or noun + 's'}"


def percent(share: float, digits: int = 1) -> str:
    """'12.3 %'; a share that rounding would turn into 0 or 100 says that it is not: '< 0.1 %', '> 99.9 %'."""
    value = share * 100
    smallest = 10.0**-digits
    if 0 < value < smallest / 2:
        return f"< {smallest:.{digits}f} %"
    if 100 - smallest / 2 < value < 100:
        return f"> {100 - smallest:.{digits}f} %"
    return f"{value:.{digits}f} %"


def seconds(value: float) -> str:
    """A span of time: '3.2 s', '41 ms', '87 us', '241 ns'."""
    if value >= 120:
        return f"{value / 60:,.0f} min"
    if value == 0:
        return "0 s"
    if value >= 1:
        return f"{value:.1f} s"
    if value >= 1e-3:
        return f"{value * 1e3:.3g} ms"
    if value >= 0.9995e-6:
        return f"{value * 1e6:.0f} us"
    return f"{value * 1e9:.0f} ns"
