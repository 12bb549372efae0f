"""A ROM file system, from which MicroPython runs bytecode in place: what lies between the bytes of its files.

    record = kind, length, payload; both numbers in base 128, most significant group first, all but the last
             with bit 7 set (micropython, extmod/vfs_rom.c)

The image is one record, whose kind and magic number are the bytes D2 CD 31; within it a folder is a record of
kind 4 (length of the name, name, records), a file one of kind 5 (length of the name, name, one record of kind
2 with the content). Sizes are known before the content is, so that an image can be written as its files come.
"""

MAGIC = b"\xd2\xcd\x31"
_VERBATIM = b"\x02"
_FOLDER = b"\x04"
_FILE = b"\x05"


def heads(files: "list[tuple[str, int]]") -> "tuple[list[bytes], int]":
    """Return (heads, size) of the image of `files`, tuples that begin with path and size, sorted by path.

    heads[i] comes right before the bytes of file i, and nothing comes after those of the last one; size: of
    the whole image, bytes.
    """
    found, size = _records(files, 0)
    start = MAGIC + _number(size)
    found[0] = start + found[0]
    return found, size + len(start)


def _records(files: "list[tuple[str, int]]", at: int) -> "tuple[list[bytes], int]":
    """The heads and the size of what lies in one folder, whose own path takes `at` characters."""
    found: "list[bytes]" = []
    total = 0
    place = 0
    while place < len(files):
        path, size = files[place][:2]
        end = path.find("/", at)
        name = path[at:] if end < 0 else path[at:end]
        head = _number(len(name)) + name.encode()
        if end < 0:
            kind = _FILE
            below = [b""]
            head += _VERBATIM + _number(size)
        else:
            kind = _FOLDER
            inner = [file for file in files[place:] if file[0].startswith(path[: end + 1])]
            below, size = _records(inner, end + 1)
        head = kind + _number(len(head) + size) + head
        below[0] = head + below[0]
        total += len(head) + size
        found += below
        place += len(below)
    return found, total


def _number(value: int) -> bytes:
    data = bytes((value & 127,))
    while value > 127:
        value >>= 7
        data = bytes((value & 127 | 128,)) + data
    return data
