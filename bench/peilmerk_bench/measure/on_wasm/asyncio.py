"""Stands for the asyncio that a port carries frozen: tasks on a clock that jumps to the next moment of need.

Only what the firmware uses. Time is `time.ticks_ms` of this folder: when every task sleeps, it moves on.
"""

import time
from time import ticks_add, ticks_diff, ticks_ms


class CancelledError(BaseException):
    pass


class TimeoutError(Exception):
    pass


class Task:
    def __init__(self, coroutine):
        self.coroutine = coroutine
        self.due = ticks_ms()
        self.done_ = False
        self.value = None
        self.fault = None
        self.throw = None
        self.waiters = []

    def done(self):
        return self.done_

    def cancel(self):
        if self.done_:
            return False
        self.throw = CancelledError()
        wake(self)
        return True

    def __await__(self):
        while not self.done_:
            self.waiters.append(current)
            yield None
        if self.fault:
            raise self.fault
        return self.value

    __iter__ = __await__


_tasks = []
current = None


def create_task(coroutine):
    task = Task(coroutine)
    _tasks.append(task)
    return task


def current_task():
    return current


def wake(task):
    task.due = ticks_ms()
    if task not in _tasks and not task.done_:
        _tasks.append(task)


class _Pause:
    def __init__(self, ms):
        self.ms = ms

    def __await__(self):
        yield self.ms

    __iter__ = __await__


def sleep_ms(ms):
    return _Pause(ms)


def sleep(s):
    return _Pause(int(s * 1000))


class Event:
    def __init__(self):
        self._set = False
        self._waiters = []

    def is_set(self):
        return self._set

    def set(self):
        self._set = True
        for task in self._waiters:
            wake(task)
        self._waiters.clear()

    def clear(self):
        self._set = False

    def wait(self):
        return _Wait(self)


class _Wait:
    def __init__(self, event):
        self.event = event

    def __await__(self):
        while not self.event._set:
            self.event._waiters.append(current)
            try:
                yield None
            except CancelledError:
                self.event._waiters.remove(current)
                raise
        return True

    __iter__ = __await__


class ThreadSafeFlag(Event):
    pass


class Lock:
    def __init__(self):
        self._held = False

    async def acquire(self):
        while self._held:
            await sleep_ms(5)
        self._held = True
        return True

    def release(self):
        self._held = False

    async def __aenter__(self):
        await self.acquire()

    async def __aexit__(self, *_):
        self.release()


async def wait_for_ms(awaitable, ms):
    return await wait_for(awaitable, ms / 1000)


async def wait_for(awaitable, timeout):
    if timeout is None:
        return await awaitable

    async def body():
        return await awaitable

    inner = create_task(body())
    deadline = ticks_add(ticks_ms(), int(timeout * 1000))
    me = current
    inner.waiters.append(me)
    try:
        while not inner.done_:
            left = ticks_diff(deadline, ticks_ms())
            if left <= 0:
                inner.waiters.remove(me)  # or its end would shorten a later sleep
                inner.cancel()
                await sleep_ms(0)
                raise TimeoutError
            await sleep_ms(left)
    except CancelledError:
        inner.cancel()
        raise
    if inner.fault:
        raise inner.fault
    return inner.value


async def gather(*awaitables, return_exceptions=False):
    tasks = [one if isinstance(one, Task) else create_task(one) for one in awaitables]
    found = []
    for task in tasks:
        try:
            found.append(await task)
        except Exception as fault:
            if not return_exceptions:
                raise
            found.append(fault)
    return found


class _News:
    """Waits until there is something to read."""

    def __init__(self, line):
        self.line = line

    def __await__(self):
        self.line.waiter = current
        yield None

    __iter__ = __await__


class StreamReader:
    def __init__(self, line, extra=None):
        self.s = line

    async def read(self, size=-1):
        while True:
            data = self.s.read(size)
            if data is not None:
                return data
            await _News(self.s)

    async def readexactly(self, size):
        data = b""
        while len(data) < size:
            more = self.s.read(size - len(data))
            if more == b"":
                raise EOFError
            if more is None:
                await _News(self.s)
            else:
                data += more
        return data

    def write(self, data):
        self.s.write(data)

    async def drain(self):
        await sleep_ms(0)

    def close(self):
        self.s.close()

    async def wait_closed(self):
        pass


StreamWriter = StreamReader


class _Server:
    def close(self):
        pass

    async def wait_closed(self):
        pass


async def start_server(*_, **__):
    """Nobody calls."""
    return _Server()


class _Loop:
    def create_task(self, coroutine):
        return create_task(coroutine)


def get_event_loop():
    return _Loop()


def new_event_loop():
    _tasks.clear()
    return _Loop()


def run(coroutine):
    """Run for ever, until the clock reads `until_ms` or the coroutine ends."""
    global _main
    _main = create_task(coroutine)
    # Small frames only from here to the collector (see port.py).
    while _step():
        between()
    if _main.fault:
        raise _main.fault
    return _main.value


until_ms = None
_main = None


def between():
    """Called whenever no task runs; whoever measures puts its own here."""


def _step():
    global current
    if _main.done_:
        return False
    task = _next()
    if until_ms is not None and task.due >= until_ms:
        return False
    if ticks_diff(task.due, ticks_ms()) > 0:
        time.jump(task.due)
    _tasks.remove(task)
    current = task
    _resume(task)
    return True


def _next():
    task = None
    for other in _tasks:
        if task is None or ticks_diff(other.due, task.due) < 0:
            task = other
    if task is None:
        raise RuntimeError("every task waits for another")
    return task


def _resume(task):
    try:
        if task.throw is not None:
            throw, task.throw = task.throw, None
            pause = task.coroutine.throw(throw)
        else:
            pause = task.coroutine.send(None)
    except StopIteration as end:
        _end(task, end.value, None)
    except CancelledError as fault:
        _end(task, None, fault)
    except Exception as fault:
        _end(task, None, fault)
    else:
        if pause is not None:
            task.due = ticks_add(ticks_ms(), pause)
            _tasks.append(task)


def _end(task, value, fault):
    task.done_ = True
    task.value = value
    task.fault = fault
    for waiter in task.waiters:
        wake(waiter)
    task.waiters.clear()
