"""A long computation that breathes: await asyncio.sleep(0) lets everyone who is ready run, and goes on.

The clock ticks during the computation. Take the await away, and it does not tick before the end.
"""

import asyncio


async def compute():
    total = 0
    for number in range(2_000_000):
        total += number * number
        if number % 10_000 == 0:
            await asyncio.sleep(0)  # breathe
    return total


async def clock(ticks):
    while True:
        ticks.append(asyncio.get_running_loop().time())
        await asyncio.sleep(0.01)


async def main():
    ticks = []
    watching = asyncio.create_task(clock(ticks), name="clock")
    total = await asyncio.create_task(compute(), name="compute")
    watching.cancel()
    print("sum of squares:", total)
    print("the clock ticked during the computation:", len(ticks) > 2)


if __name__ == "__main__":
    asyncio.run(main())
