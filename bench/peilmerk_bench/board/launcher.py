"""First code of a board's process: become the owner of the inner terminal, then become MicroPython.

Run as a script: `launcher.py EXTENSION ARGUMENT…`, EXTENSION being the file of `micropython_run`. The
terminal is the process's controlling one, so that it is hung up (and the process ended) when the supervisor
dies.
"""

import fcntl
import importlib.machinery
import importlib.util
import signal
import sys
import termios


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it may be ignored where the supervisor was started
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    loader = importlib.machinery.ExtensionFileLoader("micropython_run", sys.argv[1])
    spec = importlib.util.spec_from_loader("micropython_run", loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return int(module.run_main(["micropython", *sys.argv[2:]]) or 0)


if __name__ == "__main__":
    sys.exit(main())
