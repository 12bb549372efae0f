"""Makes few modules with short names of the firmware's many, before they are compiled.

A module of bytecode carries every name that it mentions, and each import costs some ten bytes: of 92 KB of an
air node, 30 were names. So modules that are always loaded together become one, whole numbers that have a
name are put where the name stood, private functions that are called once are put where they are called, and
names that only the firmware itself knows become as short as can be.
What the sources say and do is not changed, and sources are what tests, types and readers see.

    program = Program({"node.app": source, ...}, PARTS)      what the modules define, and their new names
    program.modules                                          {"node.app": shorter source, ...}
    program.guest(source)                                    a script that talks to this firmware
    program.plain(text)                                      a traceback of it, in the names of the sources

Left as they are: names that MicroPython has too (`foreign.txt`), names that text in the sources could mean,
arguments given by name, exceptions (a console shows them), and what tools ask a board for (OUTSIDE).
"""

from peilmerk_provisioning.linking.parts import PARTS
from peilmerk_provisioning.linking.program import LinkError, Program

__all__ = ["PARTS", "LinkError", "Program"]
