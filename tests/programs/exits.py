"""Ends in the way that its first argument names."""

import os
import signal
import sys
import threading

way = sys.argv[1]
print("out", way, flush=True)
print("err", way, file=sys.stderr, flush=True)


def inner():
    raise ValueError("on purpose: \x1b[31mred")


if way == "exception":
    inner()
elif way == "chained":
    try:
        inner()
    except ValueError as error:
        raise RuntimeError("second") from error
elif way == "interrupt":
    raise KeyboardInterrupt
elif way == "text":
    sys.exit("a text as the status")
elif way == "none":
    sys.exit(None)
elif way == "big":
    sys.exit(256 + 7)
elif way == "os_exit":
    os._exit(9)
elif way == "exec":
    os.execv(sys.executable, [sys.executable, "-c", "import os; print('after exec', 'LD_PRELOAD' in os.environ)"])
elif way == "system_exit_in_thread":
    thread = threading.Thread(target=sys.exit, args=(5,))
    thread.start()
    thread.join()
elif way == "thread_exception":
    thread = threading.Thread(target=inner, name="worker")
    thread.start()
    thread.join()
elif way.startswith("SIG"):
    number = getattr(signal, way)
    signal.signal(number, signal.SIG_DFL) if number not in (signal.SIGKILL, signal.SIGSTOP) else None
    os.kill(os.getpid(), number)
    signal.pause()
else:
    sys.exit(int(way))
