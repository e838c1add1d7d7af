"""Prints in which order exit handlers, threads and finalisers run."""

import atexit
import concurrent.futures
import threading
import weakref


class Thing:
    pass


def at_threading_exit():
    print("threading atexit", flush=True)
    leaving.set()


def job():
    leaving.wait()
    print("future", flush=True)


def late_thread():
    future.result()
    print("thread: end", flush=True)


leaving = threading.Event()
thing = Thing()
weakref.finalize(thing, print, "finalize", flush=True)
atexit.register(print, "atexit: first registered", flush=True)
atexit.register(print, "atexit: last registered", flush=True)
pool = concurrent.futures.ThreadPoolExecutor(1)
threading._register_atexit(at_threading_exit)  # runs before the pool's own, which waits for the future
future = pool.submit(job)
threading.Thread(target=late_thread).start()
print("last line", flush=True)
