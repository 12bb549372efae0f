"""First code of a board's process: become the owner of the inner terminal, then become MicroPython.

Run as a script: `launcher.py EXTENSION ROMFS ARGUMENT…`, EXTENSION being the file of `micropython_run`, ROMFS
the file behind the partition for a ROM file system or "". That file is mapped into this process, as flash is
into an ESP32's memory, and MicroPython gets one more argument: the address. The terminal is the process's
controlling one, so that it is hung up (and the process ended) when the supervisor dies.
"""

import ctypes
import fcntl
import importlib.machinery
import importlib.util
import mmap
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
    address = 0
    if sys.argv[2]:
        with open(sys.argv[2], "r+b") as file:
            mapped = mmap.mmap(file.fileno(), 0)
        address = ctypes.addressof(ctypes.c_char.from_buffer(mapped))
    return int(module.run_main(["micropython", *sys.argv[3:], str(address)]) or 0)


if __name__ == "__main__":
    sys.exit(main())
