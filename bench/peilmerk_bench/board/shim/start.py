# ruff: noqa: E402, F401, I001
"""First code of every virtual board: put the shims in place, mount the flash, run boot.py and main.py.

Started by the interpreter as `start.py FD ROM` with FD the wire to the supervisor and ROM the address of the
partition for a ROM file system, 0 without one. Leaves nothing behind in the
name space of the REPL.
"""

import sys

sys.path[0] = ""  # the process stands in this folder: tracebacks then name files as a board's firmware would

import bus

bus.begin(int(sys.argv[1]))
hello = bus.call("hello")

import worldtime

worldtime.begin(hello)


def prepare():
    import gc
    import uos
    import utime
    import vfs
    import board_time
    import board_select

    modules = sys.modules
    modules["time"] = modules["utime"] = board_time
    modules["select"] = modules["uselect_board"] = board_select
    import board_asyncio
    import board_bluetooth

    modules["_asyncio"] = board_asyncio
    import board_machine
    import board_micropython
    import board_network
    import board_os
    import board_socket
    import board_tls
    import board_vfs
    from flash import Flash

    for part in (board_machine, board_micropython, board_os):
        part.begin(hello)
    shims = {
        "time": board_time,
        "utime": board_time,
        "select": board_select,
        "uselect": board_select,
        "_asyncio": board_asyncio,
        "machine": board_machine,
        "umachine": board_machine,
        "micropython": board_micropython,
        "network": board_network,
        "bluetooth": board_bluetooth,
        "ubluetooth": board_bluetooth,
        "os": board_os,
        "uos": board_os,
        "socket": board_socket,
        "usocket": board_socket,
        "vfs": board_vfs,
        "uvfs": board_vfs,
    }
    image = open(hello["image"], "r+b")
    ledger = open(hello["ledger"], "r+b")
    flash = Flash(image, ledger, hello["block"], hello["blocks"])
    address = int(sys.argv[2])
    if hello["romfs"]:
        from board_rom import begin as begin_rom
    vfs.umount("/")
    try:
        vfs.mount(vfs.VfsLfs2(flash, mtime=False), "/")
    except OSError:
        if flash.is_blank():
            vfs.VfsLfs2.mkfs(flash)
            vfs.mount(vfs.VfsLfs2(flash, mtime=False), "/")
            with open("/boot.py", "w") as boot:
                boot.write("# This file is executed on every boot (including wake-boot from deepsleep)\n")
        else:
            print("The filesystem on the flash appears to be damaged; erase the flash to start afresh.")
    keep = ("ssl", "tls", "asyncio")
    for name in list(modules):
        if name.split(".")[0] not in keep:
            del modules[name]
    modules.update(shims)
    sys.path[:] = ["", ".frozen", "/lib"]
    if hello["romfs"]:
        begin_rom(address, hello["romfs"], flash)
    sys.argv[:] = []
    gc.collect()


prepare()


def run(name, bus):
    """Run a file of the flash as the board does; False if it ended by an exception."""
    try:
        with open(name) as file:
            source = file.read()
    except OSError:
        return True
    try:
        exec(compile(source, name, "exec"), globals())
    except SystemExit:
        bus.post("soft_reset")
        while True:
            bus.call("wait")
    except BaseException as error:
        sys.print_exception(error)
        return False
    return True


def boot():
    steps = run, bus, hello
    for name in ("bus", "worldtime", "prepare", "hello", "run", "boot"):
        del globals()[name]
    run_file, wire, greeting = steps
    sys.stdout.write(greeting["marks"][0])
    good = run_file("boot.py", wire)
    if good and greeting["run_main"]:
        run_file("main.py", wire)
    sys.stdout.write(greeting["marks"][1])


boot()
