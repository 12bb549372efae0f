"""The port's `select`: whatever is asked for is ready."""

POLLIN = 1
POLLOUT = 4
POLLERR = 8
POLLHUP = 16


class poll:
    def register(self, line, events=5):
        self._line = line

    def unregister(self, line):
        pass

    def poll(self, timeout=-1):
        return [(self._line, POLLOUT)]

    ipoll = poll
