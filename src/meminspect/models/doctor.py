"""What is exact on this interpreter and machine, and what is not."""

from __future__ import annotations

from dataclasses import dataclass

from .base import Model
from .report import PythonInfo

SCHEMA = 1


@dataclass(frozen=True, repr=False)
class LayoutTrial(Model):
    """One layout of CPython's structures, held against the running interpreter (csrc/layout/layout.h).

    version  -- of the CPython whose headers it was taken from
    native   -- the one that this was compiled for, not one of the tables shipped
    verified -- no fact speaks against it
    facts    -- (a clause, true or false, None when it could not be checked)
    """

    version: str
    native: bool
    free_threaded: bool
    debug: bool
    verified: bool
    facts: tuple[tuple[str, bool | None], ...]

    def __repr__(self) -> str:
        return f"<LayoutTrial {self.version}: verified={self.verified}, {len(self.facts)} facts>"


@dataclass(frozen=True, repr=False)
class Feature(Model):
    """One thing that meminspect measures. exact: True, False, or None where it does not apply; `how` says why."""

    name: str
    exact: bool | None
    how: str

    def __repr__(self) -> str:
        return f"<Feature {self.name}: exact={self.exact}>"


@dataclass(frozen=True, repr=False)
class Extra(Model):
    """An optional extra of the package, and which of its modules are not installed (looked for, not imported)."""

    name: str
    missing: tuple[str, ...]

    def __repr__(self) -> str:
        return f"<Extra {self.name}: missing {self.missing}>"


@dataclass(frozen=True, repr=False)
class Machine(Model):
    """The machine and what it permits.

    read_method   -- how memory is read: "process_vm_readv", "pipe" or "/proc/PID/mem", None when in no way
    pagemap       -- /proc/self/pagemap can be read: which pages are resident
    ptrace_scope  -- kernel.yama.ptrace_scope, None where there is no yama
    ptrace_capable -- this process has CAP_SYS_PTRACE
    seccomp       -- mode of /proc/self/status: 0 none, 1 strict, 2 filter
    """

    system: str
    kernel: str
    architecture: str
    page_size: int
    libc: str
    malloc: str | None
    read_method: str | None
    pagemap: bool
    dumpable: bool | None
    ptrace_scope: int | None
    ptrace_capable: bool | None
    seccomp: int | None
    cgroup_version: int | None

    def __repr__(self) -> str:
        return f"<Machine {self.system} {self.kernel}, {self.libc}>"


@dataclass(frozen=True, repr=False)
class Build(Model):
    """What the native core was built with and for; None where it does not tell."""

    python: str
    cython: str
    compiler: str
    preload: bool  # the library that the launcher preloads is there

    def __repr__(self) -> str:
        return f"<Build for {self.python} by Cython {self.cython}>"


@dataclass(frozen=True, repr=False)
class Doctor(Model):
    """`meminspect doctor`.

    gil_enabled -- whether the GIL is in force now; interpreters -- how many this process has, None when not walked
    layout_reason -- why none of `layouts` could be chosen, None when one was (the last that was tried)
    """

    meminspect: str
    python: PythonInfo
    build: Build
    machine: Machine
    gil_enabled: bool
    interpreters: int | None
    layouts: tuple[LayoutTrial, ...]
    layout_reason: str | None
    features: tuple[Feature, ...]
    extras: tuple[Extra, ...]

    @property
    def layout(self) -> LayoutTrial | None:
        """The layout that is used, None when none was verified."""
        return self.layouts[-1] if self.layouts and self.layout_reason is None else None

    def __repr__(self) -> str:
        return f"<Doctor: {sum(item.exact is True for item in self.features)} of {len(self.features)} features exact>"
