"""A shared counter without a lock: between two awaits nobody else runs.

Two coroutines increment it 100,000 times each, and none is lost. Beside it the twin with threads: a thread can lose the
processor anywhere, here between reading and writing, so it needs a lock.
"""

import asyncio
import threading
import time

ROUNDS = 100_000
THREAD_ROUNDS = 2_000


class Counter:
    value = 0


async def increment(counter):
    for _ in range(ROUNDS):
        value = counter.value
        counter.value = value + 1  # no await since the value was read
        await asyncio.sleep(0)


async def with_coroutines():
    counter = Counter()
    await asyncio.gather(increment(counter), increment(counter))
    return counter.value


def with_threads(lock):
    counter = Counter()

    def increment():
        for _ in range(THREAD_ROUNDS):
            with lock:
                value = counter.value
                time.sleep(1e-6)  # the processor goes to the other thread, if no lock holds it up
                counter.value = value + 1

    threads = [threading.Thread(target=increment) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return counter.value


class NoLock:
    def __enter__(self):
        pass

    def __exit__(self, *exception):
        pass


async def main():
    print("coroutines, no lock: ", await with_coroutines(), "of", 2 * ROUNDS)
    print("threads, a lock:     ", with_threads(threading.Lock()), "of", 2 * THREAD_ROUNDS)
    print("threads, no lock:    ", with_threads(NoLock()), "of", 2 * THREAD_ROUNDS)


if __name__ == "__main__":
    asyncio.run(main())
