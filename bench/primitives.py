"""What programs do with asyncio itself: queues, locks, timeouts. Much of each figure is asyncio's own Python."""

import asyncio

from workloads import workload


@workload("Queue of 100, one puts and one gets", 50_000)
def queue(loop, operations, stopwatch):
    """A producer and a consumer of a queue that holds 100: one waits for the other twice in a hundred operations."""
    _pass_on(asyncio.Queue(100), loop, operations, stopwatch)


@workload("Queue of one, the same", 20_000)
def queue_of_one(loop, operations, stopwatch):
    """As before, and each waits for the other each time."""
    _pass_on(asyncio.Queue(1), loop, operations, stopwatch)


def _pass_on(line, loop, operations, stopwatch):
    async def produce():
        for number in range(operations):
            await line.put(number)

    async def main():
        producer = loop.create_task(produce())
        for _ in range(operations):
            await line.get()
        await producer

    with stopwatch:
        loop.run_until_complete(main())


@workload("Lock, ten tasks want it", 20_000)
def lock(loop, operations, stopwatch):
    """Ten tasks take a lock in turns, and hold it over a step."""
    tasks = 10

    async def take(one_at_a_time):
        for _ in range(operations // tasks):
            async with one_at_a_time:
                await asyncio.sleep(0)

    async def main():
        one_at_a_time = asyncio.Lock()
        for task in [loop.create_task(take(one_at_a_time)) for _ in range(tasks)]:
            await task

    with stopwatch:
        loop.run_until_complete(main())


if hasattr(asyncio, "timeout"):  # from Python 3.11 on

    @workload("asyncio.timeout, not reached", 20_000)
    def timeout(loop, operations, stopwatch):
        """A timeout of ten seconds around a step."""

        async def main():
            for _ in range(operations):
                async with asyncio.timeout(10):
                    await asyncio.sleep(0)

        with stopwatch:
            loop.run_until_complete(main())


@workload("wait_for, not reached", 20_000)
def wait_for(loop, operations, stopwatch):
    """wait_for with ten seconds, of a coroutine that takes a step."""

    async def step():
        await asyncio.sleep(0)

    async def main():
        for _ in range(operations):
            await asyncio.wait_for(step(), 10)

    with stopwatch:
        loop.run_until_complete(main())
