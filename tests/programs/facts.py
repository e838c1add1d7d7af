"""What a program can see of how it was started, as JSON in the file that FACTS names (or on stdout)."""

import atexit
import builtins
import json
import os
import resource
import signal
import sys
import threading

with open("/proc/self/status") as file:
    STATUS = file.readlines()


def module_facts():
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    return {
        "name": main.__name__,
        "file": getattr(main, "__file__", None),
        "package": getattr(main, "__package__", None),
        "doc": bool(main.__doc__),
        "loader": type(getattr(main, "__loader__", None)).__name__,
        "spec": spec and [spec.name, spec.origin, spec.parent, spec.cached, type(spec.loader).__name__],
        "cached": getattr(main, "__cached__", None),
        "names": sorted(name for name in vars(main) if name.startswith("__")),
        "builtins": main.__builtins__ is builtins,
    }


def handler_of(number):
    handler = signal.getsignal(number)
    return getattr(handler, "__name__", str(handler))


def facts():
    descriptor = os.open(os.devnull, os.O_RDONLY)
    os.close(descriptor)
    status = dict(line.rstrip("\n").split(":\t", 1) for line in STATUS if ":\t" in line)
    return {
        "argv": sys.argv,
        "orig_argv": sys.orig_argv[1:],
        "path": sys.path,
        "flags": str(sys.flags),
        "xoptions": str(sys._xoptions),
        "warnoptions": sys.warnoptions,
        "executable": sys.executable,
        "prefixes": [sys.prefix, sys.base_prefix, sys.exec_prefix],
        "main": module_facts(),
        "modules": sorted(sys.modules),
        "meta_path": [str(finder) for finder in sys.meta_path],
        "path_hooks": len(sys.path_hooks),
        "importers": sorted(sys.path_importer_cache),
        "environment": dict(os.environ),
        "cwd": os.getcwd(),
        "next_descriptor": descriptor,
        "signals": [handler_of(number) for number in sorted(signal.valid_signals())],
        "masks": [status[name] for name in ("SigBlk", "SigIgn", "SigCgt", "ShdPnd")],
        "os_threads": status["Threads"],
        "threads": [thread.name for thread in threading.enumerate()],
        "tracing": [sys.gettrace() is None, sys.getprofile() is None],
        "exception_hook": sys.excepthook is sys.__excepthook__,
        "streams": [str(type(s)) + s.encoding + s.errors + str(s.line_buffering) for s in (sys.stdout, sys.stderr)],
        "limits": [resource.getrlimit(limit) for limit in (resource.RLIMIT_CORE, resource.RLIMIT_NOFILE)],
        "frames": len(__import__("inspect").stack()),
        "atexit": sorted(name for name in dir(atexit) if not name.startswith("_")),
    }


text = json.dumps(facts(), indent=1, default=str)
if "FACTS" in os.environ:
    with open(os.environ["FACTS"], "w") as file:
        file.write(text)
else:
    print(text)
