import sys

from package import inner

print(__name__, __package__, __spec__.name, sys.argv[1:], inner.__name__)
