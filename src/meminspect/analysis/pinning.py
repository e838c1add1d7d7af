"""What pymalloc gives back of the arenas that become empty."""

from __future__ import annotations


def returned(emptied: int, empty_already: int) -> int:
    """How many of `emptied` arenas go back to the operating system.

    An arena goes back when its last pool becomes free, unless it is the last in the list of arenas with room
    (Objects/obmalloc.c, insert_to_freepool: bpo-37257); that one is kept. With an empty arena at the end of the list
    already, none of the others is the last. It goes too, and the figure is one too low, where an arena of which a
    single pool is in use happens to stand behind it.
    """
    return emptied if empty_already or not emptied else emptied - 1
