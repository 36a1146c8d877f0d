"""Two coroutines, three pieces each: at every await the other one may run.

Calling pieces() runs nothing; a task does. Starts, middles and ends alternate, and both are done after 1.5 s.
"""

import asyncio
import threading


async def pieces(message):
    print(message, "start", flush=True)
    await asyncio.sleep(0.5)
    print(message, "middle", flush=True)
    await asyncio.sleep(1)
    print(message, "end", flush=True)
    return f"{message} in pieces"


async def main():
    threads = {threading.get_ident()}
    coroutine = pieces("run1")  # nothing is printed yet
    results = await asyncio.gather(
        asyncio.create_task(coroutine, name="run1"),
        asyncio.create_task(pieces("run2"), name="run2"),
    )
    threads.add(threading.get_ident())
    print(results, "on", len(threads), "thread")


if __name__ == "__main__":
    asyncio.run(main())
