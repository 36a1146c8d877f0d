"""Every way to start a program on boucle from Python code. Prints the type of the loop that ran, for each.

From a shell there are three more: ``boucle run file.py``, ``boucle run -m module``, and ``python -m boucle``, a REPL.
"""

import asyncio
import sys

import boucle


async def main():
    loop = type(asyncio.get_running_loop())
    return f"{loop.__module__.partition('.')[0]}.{loop.__name__}"


def ways():
    yield "boucle.run(main())", lambda: boucle.run(main())

    if sys.version_info >= (3, 12):
        factory = "asyncio.run(main(), loop_factory=boucle.new_event_loop)"
        yield factory, lambda: asyncio.run(main(), loop_factory=boucle.new_event_loop)

    if sys.version_info >= (3, 11):

        def with_runner():
            with asyncio.Runner(loop_factory=boucle.new_event_loop) as runner:
                return runner.run(main())

        yield "asyncio.Runner(loop_factory=boucle.new_event_loop)", with_runner

    def by_hand():
        loop = boucle.new_event_loop()
        try:
            return loop.run_until_complete(main())
        finally:
            loop.close()

    yield "boucle.new_event_loop().run_until_complete(main())", by_hand

    def installed():
        boucle.install()
        return asyncio.run(main())

    yield "boucle.install(); asyncio.run(main())", installed


if __name__ == "__main__":
    for way, launch in ways():
        print(f"{way:60} {launch()}")
