"""All of a report's captures in their order: what runs inside a process that is measured.

It imports nothing but the native core, because it runs in programs that we started, at their very end or on a thread of
ours, where a module more would be a figure changed: the launcher hands its compiled code in, and `native` with it.
"""

# what the report needs, in the order in which it is taken: first what later captures would change, the whole last
CAPTURES = ("heap", "gc", "gil", "process", "memory")


def take(native, blocks_before=None):
    """Every capture that the native core has: {section: what its function returned}.

    A capture that fails leaves {"error": code, "reason": text} as its section and does not keep the others from coming.
    `blocks_before` is sys.getallocatedblocks() before the core was loaded; `own_blocks` in the result is what loading
    it added: those are in the heap that was measured, and are not the program's.
    """
    result = {"own_blocks": None}
    if blocks_before is not None:
        import sys

        result["own_blocks"] = sys.getallocatedblocks() - blocks_before
    for section in CAPTURES:
        capture = getattr(native, section + "_capture", None)
        if capture is None:
            result[section] = {"error": "absent", "reason": "this build of meminspect has no capture of it"}
            continue
        try:
            result[section] = capture()
        except Exception as error:
            result[section] = {"error": getattr(error, "code", type(error).__name__), "reason": str(error)}
    return result


def take_here():
    """take() of this process, for callers inside the package."""
    from meminspect import _native

    return take(_native)
