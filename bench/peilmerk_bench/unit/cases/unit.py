"""Runs the cases on a board and prints one line of JSON a test; imported from the mounted folder.

A case is a module with functions named `test_…`. `Skip` tells that the board does not carry what a test
needs.
"""

import gc
import json
import sys

FOLDER = "/remote"


class Skip(Exception):
    """The test does not apply to this board; the text says why."""


def say(**fields):
    print("\npeilmerk-says:" + json.dumps(fields))


def rows(name):
    """Yield (part, row) of a vector file, one line at a time: a board has no room for all of it."""
    with open(FOLDER + "/vectors/" + name) as file:
        file.readline()
        for line in file:
            part, row = json.loads(line)
            yield part, row


def about(name):
    """What stands in a vector file beside its rows."""
    with open(FOLDER + "/vectors/" + name) as file:
        return json.loads(file.readline())[1]


def same(found, wanted, what=""):
    """Fail unless both are equal."""
    if found != wanted:
        raise AssertionError("%s: found %r, wanted %r" % (what, found, wanted))


def refused(error, reason, function, *arguments):
    """Fail unless the call raises `error` with this reason."""
    try:
        value = function(*arguments)
    except error as fault:
        same(fault.reason, reason, "reason")
        return
    raise AssertionError("accepted as %r, wanted refusal %r" % (value, reason))


def absent(name):
    """Stands for what firmware on a board does without: the rest of the test does not apply."""
    raise Skip("no %s on this board" % name)


def run(case):
    """Run one case and forget its modules."""
    before = set(sys.modules)
    gc.collect()
    module = __import__(case)
    for name in sorted(dir(module)):
        if not name.startswith("test_"):
            continue
        test = name[5:].replace("_", " ")
        gc.collect()
        try:
            getattr(module, name)()
        except (Skip, ImportError) as why:
            say(case=case, test=test, outcome="skipped", why=str(why))
        except Exception as fault:
            sys.print_exception(fault)
            why = "%s: %s" % (type(fault).__name__, fault)
            say(case=case, test=test, outcome="failed", why=why)
        else:
            gc.collect()
            say(case=case, test=test, outcome="passed", free=gc.mem_free())
    for name in list(sys.modules):
        if name not in before:
            del sys.modules[name]
