"""The same as pieces.py, with one mistake: time.sleep(1) where await asyncio.sleep(1) was meant.

A coroutine keeps the processor until it awaits, so run2's "middle" comes only after run1's "end", and both are done
after 2.5 s.
"""

import asyncio
import time


async def pieces(message):
    print(message, "start", flush=True)
    await asyncio.sleep(0.5)
    print(message, "middle", flush=True)
    time.sleep(1)  # keeps the processor
    print(message, "end", flush=True)
    return f"{message} in pieces"


async def main():
    results = await asyncio.gather(
        asyncio.create_task(pieces("run1"), name="run1"),
        asyncio.create_task(pieces("run2"), name="run2"),
    )
    print(results)


if __name__ == "__main__":
    asyncio.run(main())
