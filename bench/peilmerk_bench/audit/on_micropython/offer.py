"""Offers files, one after another, to a board's receiver of updates, and prints how each was answered.

    offer.py FOLDER KIND VERSION FILE ...

FOLDER is the board's flash, with the firmware in its slot a; VERSION, as 1.2.3, the highest that ever proved
itself. Prints {"FILE": number of the refusal, or 0 where
the update is to be tried at the next start}. A slot that was filled is emptied again before the next file.
"""

import json
import sys

from node.mark import Mark
from node.update import UpdateError, receive, slots

folder, kind = sys.argv[1] + "/", sys.argv[2]
sys.path.insert(0, folder + "a")
receive.say = lambda *_: None
Mark(folder + "data/proven", "HHHI").save(*[int(part) for part in sys.argv[3].split(".")], 0)
with open(folder + "slots", "rb") as file:
    state = file.read()
found: dict = {}
for name in sys.argv[4:]:
    found[name] = 0
    try:
        receiver = receive.Receiver(slots.Slots(folder, folder + "data"), kind)
        try:
            with open(name, "rb") as file:
                while True:
                    piece = file.read(700)
                    if not piece:
                        break
                    receiver.write(piece)
            receiver.finish()
        finally:
            receiver.abandon()
    except UpdateError as fault:
        found[name] = fault.reason
    receive.remove(folder + "b")
    with open(folder + "slots", "wb") as file:
        file.write(state)
print(json.dumps(found))
