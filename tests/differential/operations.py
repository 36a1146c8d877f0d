"""The operations of programs: one method for each, plain ones for callbacks too, coroutines for tasks only.

What a method returns is observed by the interpreter, and so is what it raises. ``me`` is who runs it: a path such as
``main.2``, the second thing that ``main`` made.
"""

import asyncio
import contextvars
import inspect
import sys
import types

VARIABLE = contextvars.ContextVar("variable", default="unset")


class BoomError(Exception):
    """An error of the program."""


class Alarm(BaseException):
    """One that is no Exception."""


class Interrupt(KeyboardInterrupt):
    """Not the developer's own Ctrl-C, which must end the search."""


class Exit(SystemExit):
    """The same for SystemExit."""


KINDS = {
    "value": ValueError,
    "boom": BoomError,
    "alarm": Alarm,
    "cancelled": asyncio.CancelledError,
    "timeout": asyncio.TimeoutError,
    "stop": StopIteration,
    "interrupt": Interrupt,
    "exit": Exit,
}
CAUGHT = {"cancelled": asyncio.CancelledError, "exception": Exception, "everything": BaseException, "nothing": ()}


class Ordered(dict):
    """A set that keeps its order, where asyncio goes through a set of tasks: theirs depends on addresses."""

    def add(self, item):
        self[item] = None

    def discard(self, item):
        self.pop(item, None)


@types.coroutine
def _yield(value):
    yield value


class Operations:
    """What a program can do. The interpreter adds how bodies are run, and what there is to work on."""

    # Names.

    def _name(self, me):
        self._made[me] = self._made.get(me, 0) + 1
        return f"{me}.{self._made[me]}"

    def _thing(self, index):
        return self._things[index % len(self._things)]

    def _waitable(self, indices):
        """The things that the current task may wait for. One that waits for the current task in turn is left out: to
        cancel such a circle overflows the stack, on asyncio too."""
        task = asyncio.current_task(self._loop)
        things = map(self._thing, indices)
        # Waiting for itself is a mistake that tasks notice; asyncio's two implementations go on differently after it.
        itself = self._observer.exact
        return [thing for thing in things if not _waits_for(thing, task) or (itself and thing is task)]

    def _for_a_set(self, indices):
        """Different things of which at most one is done.

        asyncio puts them into a set, and queues a callback for each that is done, in the order of addresses.
        """
        things = dict.fromkeys(map(self._thing, indices))
        return [thing for thing in things if not thing.done()] + [thing for thing in things if thing.done()][:1]

    def _add(self, thing, name):
        self._observer.label(thing, name)
        self._things.append(thing)
        return thing

    def _context(self, number):
        return {} if number is None else {"context": self._contexts[number]}

    # Futures and tasks.

    def future(self, me):
        return self._add(self._loop.create_future(), self._name(me))

    def spawn(self, me, context, body):
        name = self._name(me)
        task = self._loop.create_task(self._task(name, body), name=name, **self._context(context))
        return self._add(task, name)

    def spawn_eagerly(self, me, context, body):
        name = self._name(me)
        kind = self._subject.task_class()
        # A copy, since it starts at once: the context itself may be the one that we are in.
        context = {} if context is None else {"context": self._contexts[context].copy()}
        return self._add(kind(self._task(name, body), loop=self._loop, name=name, eager_start=True, **context), name)

    def cancel(self, me, index, message):
        thing = self._thing(index)
        return thing, thing.cancel() if message is None else thing.cancel(message)

    def uncancel(self, me, index):
        thing = self._thing(index)
        return thing, thing.uncancel() if hasattr(thing, "uncancel") else None

    def state(self, me, index):
        thing = self._thing(index)
        return thing, self._observer.state(thing)

    def result(self, me, index):
        return self._thing(index).result()

    def exception(self, me, index):
        return self._thing(index).exception()

    def set_result(self, me, index):
        return self._thing(index).set_result(f"set by {me}")

    def set_exception(self, me, index, kind, as_class):
        return self._thing(index).set_exception(KINDS[kind] if as_class else KINDS[kind](f"set by {me}"))

    def drop(self, me, index):
        if len(self._things) > 1:
            return self._observer.plain(self._things.pop(index % len(self._things)))
        return None

    def gather(self, me, indices, return_exceptions):
        things = map(self._thing, indices)
        return self._add(asyncio.gather(*things, return_exceptions=bool(return_exceptions)), self._name(me))

    def shield(self, me, index):
        return self._add(asyncio.shield(self._thing(index)), self._name(me))

    def name(self, me, index, number):
        task = self._thing(index)
        if not hasattr(task, "set_name"):
            return None
        before = task.get_name()
        return before, task.set_name(f"{before} {number}"[:20])

    def current(self, me):
        return asyncio.current_task(self._loop)

    def all_tasks(self, me):
        return asyncio.all_tasks(self._loop)

    # Callbacks.

    def callback(self, me, index, times, context, body):
        thing = self._thing(index)
        name = self._name(me)

        def callback(future):
            self._see(name, "is called with", future, VARIABLE.get(), asyncio.current_task(self._loop))
            self._callback(name, body)

        self._callbacks.append(callback)
        for _ in range(times):
            thing.add_done_callback(callback, **self._context(context))

    def add_again(self, me, index, number, context):
        if self._callbacks:
            callback = self._callbacks[number % len(self._callbacks)]
            self._thing(index).add_done_callback(callback, **self._context(context))

    def remove_callback(self, me, index, number):
        if self._callbacks:
            return self._thing(index).remove_done_callback(self._callbacks[number % len(self._callbacks)])
        return None

    def call_soon(self, me, context, body):
        self._schedule(me, self._loop.call_soon, context, body)

    def call_later(self, me, delay, context, body):
        self._schedule(me, lambda *rest, **context: self._loop.call_later(delay, *rest, **context), context, body)

    def call_at_past(self, me, rank, context, body):
        self._schedule(me, lambda *rest, **context: self._clock.call_at_past(rank, *rest, **context), context, body)

    def _schedule(self, me, schedule, context, body):
        name = self._name(me)

        def callback():
            self._see(name, "is called", VARIABLE.get(), asyncio.current_task(self._loop))
            self._callback(name, body)

        self._handles.append(schedule(callback, **self._context(context)))

    def cancel_handle(self, me, number):
        if self._handles:
            handle = self._handles[number % len(self._handles)]
            return handle.cancelled(), handle.cancel(), handle.cancelled()
        return None

    # Code.

    def set(self, me, number):
        VARIABLE.set(f"{me} set {number}")

    def get(self, me):
        return VARIABLE.get()

    def raise_(self, me, kind):
        raise KINDS[kind](f"raised by {me}")

    async def call(self, me, body):
        return await self._block(me, body)

    async def try_(self, me, body, caught, handler):
        try:
            return await self._block(me, body)
        except GeneratorExit:
            raise
        except CAUGHT[caught] as error:
            self._see(me, "catches", error)
            return await self._block(me, handler)

    async def finally_(self, me, body, final):
        try:
            return await self._block(me, body)
        finally:
            if not isinstance(sys.exc_info()[1], GeneratorExit):
                self._see(me, "finally")
                await self._block(me, final)

    async def generate(self, me, count, closing, body):
        generator = self._generator(self._name(me), body)
        for _ in range(count):
            self._see(me, "generated", await anext(generator, "nothing"))
        if closing:
            await generator.aclose()

    async def _generator(self, me, body):
        calm, statements = body
        try:
            for statement in statements:
                yield await self._block(me, (calm, [statement]))
        finally:
            if not self._observer.sealed:
                self._observer.label(asyncio.current_task(), me)
                self._see(me, "closes", asyncio.current_task())

    # Waiting.

    async def yield_(self, me):
        await asyncio.sleep(0)

    async def await_(self, me, index):
        for thing in self._waitable([index]):
            return await thing
        return "a circle"

    async def sleep(self, me, delay):
        return await asyncio.sleep(delay, "slept")

    async def wait_for(self, me, index, timeout):
        for thing in self._waitable([index]):
            return await asyncio.wait_for(thing, timeout)
        return "a circle"

    async def wait_for_body(self, me, body, timeout):
        return await asyncio.wait_for(self._task(self._name(me), body), timeout)

    async def timeout(self, me, delay, body):
        async with asyncio.timeout(delay) as timeout:
            try:
                return await self._block(me, body)
            finally:
                self._see(me, "in timeout", timeout.expired())

    async def wait(self, me, indices, return_when, timeout):
        return await asyncio.wait(self._for_a_set(indices), return_when=return_when, timeout=timeout)

    async def as_completed(self, me, indices, timeout):
        for next_one in asyncio.as_completed(self._for_a_set(indices), timeout=timeout):
            self._see(me, "completed", await next_one)

    async def await_shield(self, me, index):
        return await asyncio.shield(self._thing(index))

    async def await_gather(self, me, indices, return_exceptions):
        things = [thing for thing in self._waitable(indices) if thing is not asyncio.current_task()]
        return await asyncio.gather(*things, return_exceptions=bool(return_exceptions))

    async def gather_bodies(self, me, bodies, return_exceptions):
        tasks = [self._task(self._name(me), body) for body in bodies]
        return await asyncio.gather(*tasks, return_exceptions=bool(return_exceptions))

    async def group(self, me, bodies, body):
        async with asyncio.TaskGroup() as group:
            group._tasks = Ordered()
            for child in bodies:
                name = self._name(me)
                self._add(group.create_task(self._task(name, child), name=name), name)
            return await self._block(me, body)

    async def yield_wrongly(self, me, what, index):
        thing = self._thing(index)
        if thing is asyncio.current_task() and not self._observer.exact:
            # asyncio's two implementations look for this mistake and for the other one in different orders.
            return None
        return await _yield({"number": 5, "future": thing, "generator": (_ for _ in ())}[what])

    # What tasks share.

    def event_set(self, me):
        return self._event.set()

    def event_clear(self, me):
        return self._event.clear()

    async def event_wait(self, me):
        return await self._event.wait()

    def put_nowait(self, me, number):
        return self._queue.put_nowait(f"{number} of {me}")

    def get_nowait(self, me):
        return self._queue.get_nowait()

    def task_done(self, me):
        return self._queue.task_done()

    async def put(self, me, number):
        return await self._queue.put(f"{number} of {me}")

    async def take(self, me):
        return await self._queue.get()

    async def join(self, me):
        return await self._queue.join()

    def release(self, me, number):
        return [self._lock, self._semaphore, self._condition][number].release()

    async def acquire(self, me, number):
        return await [self._lock, self._semaphore, self._condition][number].acquire()

    def queue_state(self, me):
        locks = [self._lock, self._semaphore, self._condition]
        return self._queue.qsize(), self._event.is_set(), *[lock.locked() for lock in locks]

    async def lock(self, me, body):
        async with self._lock:
            return await self._block(me, body)

    async def semaphore(self, me, body):
        async with self._semaphore:
            return await self._block(me, body)

    async def condition(self, me, number, body):
        async with self._condition:
            if number:
                self._see(me, "notified", await self._condition.wait())
            return await self._block(me, body)

    async def notify(self, me, number):
        async with self._condition:
            return self._condition.notify(number)


def _waits_for(thing, task):
    """Whether a cancellation of the thing is handed on to the task."""
    waiting = [thing]
    seen = set()
    while waiting:
        thing = waiting.pop()
        if thing is task:
            return True
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        waiting += getattr(thing, "_children", ())
        if getattr(thing, "_fut_waiter", None) is not None:
            waiting.append(thing._fut_waiter)
    return False


_METHODS = {name: method for name, method in vars(Operations).items() if inspect.isfunction(method)}
# Words of Python cannot name a method.
OPERATIONS = {name.rstrip("_"): method for name, method in _METHODS.items() if not name.startswith("_")}
AWAITED = {name for name, method in OPERATIONS.items() if inspect.iscoroutinefunction(method)}
