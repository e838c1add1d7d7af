"""What a demo is: what it claims, what it does, and how its checks add up to a verdict."""

from __future__ import annotations

import platform
import sysconfig
import time
from dataclasses import dataclass
from typing import ClassVar

from .. import _native
from ..models.demo import Check, DemoResult, Evidence


@dataclass(frozen=True)
class Observed:
    """What an experiment gave."""

    evidence: tuple[Evidence, ...]
    checks: tuple[Check, ...]


class Demo:
    """One demo; its module is imported only when it is asked for.

    claim      -- what is said to be true, in a sentence or two
    summary    -- a paragraph: what the evidence proves where the claim held
    title_zh, claim_zh, summary_zh -- the same in Simplified Chinese
    experiment -- what is done to see it
    notes      -- what differs between versions of CPython
    """

    name: ClassVar[str]
    chapter: ClassVar[str]
    title: ClassVar[str]
    claim: ClassVar[str]
    title_zh: ClassVar[str]
    claim_zh: ClassVar[str]
    summary: ClassVar[str]
    summary_zh: ClassVar[str]
    experiment: ClassVar[str]
    notes: ClassVar[tuple[str, ...]] = ()

    def observe(self, fast: bool) -> Observed:
        """Does the experiment, within a second when fast. It leaves the process as it found it, also when it fails."""
        raise NotImplementedError

    def run(self, *, fast: bool = False) -> DemoResult:
        begin = time.perf_counter()
        observed = self.observe(fast)
        held, reason = verdict(observed.checks)
        return DemoResult(
            name=self.name,
            chapter=self.chapter,
            title=self.title,
            claim=self.claim,
            title_zh=self.title_zh,
            claim_zh=self.claim_zh,
            summary=self.summary,
            summary_zh=self.summary_zh,
            experiment=self.experiment,
            python=interpreter(),
            allocator=allocator(),
            evidence=observed.evidence,
            checks=observed.checks,
            held=held,
            reason=reason,
            notes=self.notes,
            duration_s=time.perf_counter() - begin,
        )


def verdict(checks: tuple[Check, ...]) -> tuple[bool | None, str | None]:
    """True when every check held, False when one did not, None with the reason when one could not be shown."""
    if any(check.held is False for check in checks):
        return False, "; ".join(check.text for check in checks if check.held is False)
    unknown = [check.reason or check.claim for check in checks if check.held is None]
    if unknown or not checks:
        return None, "; ".join(dict.fromkeys(unknown)) or "nothing was checked"
    return True, None


def interpreter() -> str:
    kind = ", free-threaded" if sysconfig.get_config_var("Py_GIL_DISABLED") else ""
    return f"{platform.python_implementation()} {platform.python_version()}{kind}"


def allocator() -> str:
    name: str = _native.allocator_capture()["allocator"]
    return name
