"""Ways to start a program on a boucle loop from Python code."""

import asyncio
import os
import sys
import warnings

from ._loop import new_event_loop

with warnings.catch_warnings():
    # Policies are on their way out of asyncio. While they exist they are how a whole process changes its loop.
    warnings.simplefilter("ignore", DeprecationWarning)

    class EventLoopPolicy(asyncio.DefaultEventLoopPolicy):
        """asyncio's policy, whose new loops are boucle's."""

        _loop_factory = staticmethod(new_event_loop)


def install():
    """Make every new event loop of this process a boucle loop."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        asyncio.set_event_loop_policy(EventLoopPolicy())


def run(main, *, debug=None, record=None):
    """Run a coroutine on a new boucle loop and return its result, as asyncio.run does.

    With record, the name of a file, its chronology is saved there, also when the coroutine raises: see Chronology.save.
    """
    if record is not None:
        from ._recording import check_can_save
        from ._recording import record as recorded

        check_can_save(record)
        recording = recorded()
        try:
            with recording:
                return run(main, debug=debug)
        finally:
            recording.save(record)
    if sys.version_info >= (3, 12):
        return asyncio.run(main, debug=debug, loop_factory=new_event_loop)
    if sys.version_info >= (3, 11):
        with asyncio.Runner(debug=debug, loop_factory=new_event_loop) as runner:
            return runner.run(main)
    former = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(EventLoopPolicy())
    try:
        return asyncio.run(main, debug=debug)
    finally:
        asyncio.set_event_loop_policy(former)


def running_program():
    """What runs, as a person would name it."""
    main = sys.modules.get("__main__")
    spec = getattr(main, "__spec__", None)
    if spec is not None:
        return f"-m {spec.name.removesuffix('.__main__')}"
    return os.path.basename(sys.argv[0]) if sys.argv and sys.argv[0] else "interactive"
