"""The two classes that asyncio prefers in C, on the board's clock: `_asyncio.TaskQueue` and `_asyncio.Task`.

The C ones read the interpreter's own ticks, which do not run at the world's speed. The contract between them
and asyncio's core: a queue has peek, push(task[, ticks]), pop and remove; a task has coro, data, ph_key,
state (True running, a TaskQueue of those who wait, None done, False done and waited for), done and cancel,
and is iterated by who awaits it.
"""

from board_time import ticks_diff, ticks_ms


class TaskQueue:
    """Tasks by time, first come first served among equals."""

    def __init__(self):
        self._tasks = []

    def peek(self):
        return self._tasks[0] if self._tasks else None

    def push(self, task, key=None):
        task.data = None
        task.ph_key = key = ticks_ms() if key is None else key
        tasks = self._tasks
        i = len(tasks)
        while i and ticks_diff(key, tasks[i - 1].ph_key) < 0:
            i -= 1
        tasks.insert(i, task)

    def pop(self):
        if not self._tasks:
            raise IndexError("empty heap")
        return self._tasks.pop(0)

    def remove(self, task):
        for i, other in enumerate(self._tasks):
            if other is task:
                del self._tasks[i]
                return


class Task:
    def __init__(self, coro, context=None):
        self.coro = coro
        self.data = None
        self.state = True
        self.ph_key = 0
        if context is not None:
            Task.context = context  # the globals of asyncio's core, shared by all

    def __iter__(self):
        if not self.state:
            self.state = False
        elif self.state is True:
            self.state = TaskQueue()
        elif not isinstance(self.state, TaskQueue):
            raise RuntimeError("can't wait")
        return self

    def __next__(self):
        if not self.state:
            raise self.data
        caller = self.context["cur_task"]
        self.state.push(caller)
        caller.data = self

    def done(self):
        return not self.state

    def cancel(self):
        if not self.state:
            return False
        if self is self.context["cur_task"]:
            raise RuntimeError("can't cancel self")
        task = self
        while isinstance(task.data, Task):
            task = task.data
        ready = self.context["_task_queue"]
        if hasattr(task.data, "remove"):
            task.data.remove(task)
            ready.push(task)
        elif ticks_diff(task.ph_key, ticks_ms()) > 0:
            ready.remove(task)
            ready.push(task)
        task.data = self.context["CancelledError"]
        return True
