"""Reads its standard input in three ways."""

import sys

print(repr(input()), repr(sys.stdin.readline()), repr(sys.stdin.read()), sys.stdin.isatty())
