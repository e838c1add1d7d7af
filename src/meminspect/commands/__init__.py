"""The commands. One module here is one command: `heap_map.py` holds the class of `meminspect heap-map`.

Modules whose name begins with an underscore are the frame. Nothing lists the commands: the folder is the list, and only
the module of the command that was asked for is imported.
"""

from __future__ import annotations

from meminspect.commands._frame import Command, Commands, complain

__all__ = ["Command", "Commands", "complain"]
