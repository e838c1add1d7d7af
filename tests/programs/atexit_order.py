"""Prints in which order exit handlers, threads and finalisers run."""

import atexit
import concurrent.futures
import threading
import time
import weakref


class Thing:
    pass


def late_thread():
    time.sleep(0.2)
    print("thread: end", flush=True)


thing = Thing()
weakref.finalize(thing, print, "finalize", flush=True)
atexit.register(print, "atexit: first registered", flush=True)
atexit.register(print, "atexit: last registered", flush=True)
threading._register_atexit(lambda: print("threading atexit", flush=True))
concurrent.futures.ThreadPoolExecutor(1).submit(lambda: (time.sleep(0.1), print("future", flush=True)))
threading.Thread(target=late_thread).start()
print("last line", flush=True)
