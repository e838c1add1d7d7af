"""Pickles a class of __main__ in a thread that outlives the last line, and uses a pool of each start method."""

import multiprocessing
import pickle
import sys
import threading
import time
from concurrent.futures import ProcessPoolExecutor


class Value:
    def __init__(self, number):
        self.number = number


def double(value):
    return Value(value.number * 2)


def pickle_late():
    time.sleep(0.1)
    number = pickle.loads(pickle.dumps(Value(3))).number
    print("pickled", number, __name__, sys.modules["__main__"].__name__, flush=True)


if __name__ == "__main__":
    method = sys.argv[1]
    with multiprocessing.get_context(method).Pool(1) as pool:
        print(method, [value.number for value in pool.map(double, [Value(1), Value(2)])], flush=True)
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context(method)) as executor:
        print(method, executor.submit(double, Value(4)).result().number, flush=True)
    threading.Thread(target=pickle_late).start()
