"""The words of a demo's page, in the languages in which its claim is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from ..models.demo import DemoResult

LANGUAGES = ("en", "zh")


@dataclass(frozen=True)
class Words:
    """Headings and verdicts; `stop` ends a sentence, `colon` leads to what follows."""

    experiment: str
    against: str
    proves: str
    versions: str
    held: str
    not_held: str
    not_shown: str
    claim_was: str
    counts: str
    stop: str
    colon: str

    def verdict(self, held: bool | None) -> str:
        return {True: self.held, False: self.not_held, None: self.not_shown}[held]

    def closing(self, result: DemoResult) -> str:
        reason = "" if result.reason is None else f"{self.colon}{result.reason}"
        return f"{self.claim_was}{self.verdict(result.held)}{reason}{self.stop}"

    def totals(self, results: Sequence[DemoResult]) -> str:
        held, not_held, unknown = (sum(one.held is held for one in results) for held in (True, False, None))
        seconds = f"{sum(one.duration_s for one in results):,.1f}"
        return self.counts.format(all=len(results), held=held, not_held=not_held, unknown=unknown, seconds=seconds)


WORDS = {
    "en": Words(
        experiment="Experiment",
        against="The claim against the evidence",
        proves="What this proves",
        versions="Versions",
        held="held",
        not_held="not held",
        not_shown="not shown",
        claim_was="The claim was ",
        counts="{held} of {all} claims held, {not_held} did not, {unknown} could not be shown; {seconds} s",
        stop=".",
        colon=": ",
    ),
    "zh": Words(
        experiment="实验",
        against="论断与证据",
        proves="这说明了什么",
        versions="版本差异",
        held="成立",
        not_held="不成立",
        not_shown="未能展示",
        claim_was="这一论断",
        counts="{all} 个论断中 {held} 个成立，{not_held} 个不成立，{unknown} 个未能展示；用时 {seconds} 秒",
        stop="。",
        colon="：",
    ),
}


def in_language(result: DemoResult, language: str) -> DemoResult:
    """The result with title, claim and summary in a language of LANGUAGES."""
    if language != "zh":
        return result
    return replace(result, title=result.title_zh, claim=result.claim_zh, summary=result.summary_zh)


def words_of(result: DemoResult) -> Words:
    """The words of the language that in_language() gave it."""
    return WORDS["zh" if result.claim == result.claim_zh else "en"]
