"""What has become of the calls to event loops that books use: run by the demo of coroutines in a new interpreter."""

from __future__ import annotations

import asyncio
import warnings
from collections.abc import Callable
from typing import Any


def fates() -> list[tuple[str, str, str]]:
    """Rows of the call, what it does here, and what to write today."""

    async def nothing() -> None:
        pass

    calls: tuple[tuple[str, Callable[[], Any], str], ...] = (
        (
            "asyncio.iscoroutinefunction(f)",
            lambda: asyncio.iscoroutinefunction(nothing),
            "inspect.iscoroutinefunction(f)",
        ),
        ("asyncio.get_event_loop(), none is running", asyncio.get_event_loop, "asyncio.run(main())"),
        ("loop.run_until_complete(main())", run_by_hand, "asyncio.run(main())"),
        ("asyncio.run(main())", lambda: asyncio.run(nothing()), "asyncio.run(main())"),
    )
    return [(text, outcome(function), today) for text, function, today in calls]


def run_by_hand() -> None:
    loop = asyncio.new_event_loop()
    loop.run_until_complete(asyncio.sleep(0))
    loop.close()


def outcome(function: Callable[[], Any]) -> str:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = function()
        except RuntimeError as error:
            return f"{type(error).__name__}"
    if isinstance(result, asyncio.AbstractEventLoop):
        result.close()
    return (
        "works, and is deprecated" if any(issubclass(one.category, DeprecationWarning) for one in caught) else "works"
    )
