"""Closes every descriptor but the standard ones, as a daemon does."""

import os

os.closerange(3, 1 << 16)
print("closed", os.open(os.devnull, os.O_RDONLY))
