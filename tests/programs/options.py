"""A program with options of its own that look like those of a report."""

import argparse

parser = argparse.ArgumentParser()
parser.add_argument("-o", "--output")
parser.add_argument("--json", action="store_true")
parser.add_argument("--every", type=float)
parser.add_argument("-m")
parser.add_argument("rest", nargs="*")
print(parser.parse_args())
