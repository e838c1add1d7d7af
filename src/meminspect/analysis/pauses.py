"""What collections say: how long they kept the program waiting, by generation. Pure."""

from __future__ import annotations

import statistics
from collections import defaultdict
from collections.abc import Sequence

from ..models.gil_trace import Collection, Distribution, Pauses


def pauses(collections: Sequence[Collection], duration_s: float) -> tuple[Pauses, ...]:
    """One for each generation that was collected."""
    of: dict[int, list[Collection]] = defaultdict(list)
    for one in collections:
        of[one.generation].append(one)
    return tuple(
        Pauses(
            generation=generation,
            pauses=_lengths([one.duration_s for one in found]),
            collected=sum(one.collected for one in found),
            uncollectable=sum(one.uncollectable for one in found),
            by_allocation=sum(one.trigger == "allocation" for one in found),
            by_call=sum(one.trigger == "call" for one in found),
            wall_share=sum(one.duration_s for one in found) / duration_s if duration_s else 0.0,
        )
        for generation, found in sorted(of.items())
    )


def _lengths(lengths: Sequence[float]) -> Distribution:
    """Of at least one; percentiles by linear interpolation (statistics.quantiles, inclusive)."""
    cuts = statistics.quantiles(lengths, n=1000, method="inclusive") if len(lengths) > 1 else [lengths[0]] * 999
    return Distribution(len(lengths), sum(lengths), cuts[499], cuts[899], cuts[989], cuts[998], max(lengths))
