"""Running a program as `python` would, in a process of its own, and measuring it at its end.

program.py   what to run, and the command line that runs it with this interpreter's own flags
hook.py      the two ways into that process: a preloaded library, or a sitecustomize module
records.py   the file in memory through which orders go in and results come out
watch.py     starting it, passing signals on, waiting for it, ending as it ended
output.py    where results are written
"""
