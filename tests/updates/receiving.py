"""Feed one file to the firmware's receiver: `micropython receiving.py FOLDER KIND PIECE [OFFER]`.

FOLDER is the board's flash, with the firmware in its slot a; the file is FOLDER.release. OFFER is the JSON of
[manifest's SHA-256 in hexadecimal, size, version]. Prints {"reason", "text", "heap", "taken", "slots"}: the
number of the refusal or 0, the most heap that was in use above what was before, in bytes.
"""

import gc
import json
import sys
from binascii import unhexlify

from node.update import UpdateError, receive, slots

folder, kind, piece = sys.argv[1] + "/", sys.argv[2], int(sys.argv[3])
offered = json.loads(sys.argv[4]) if len(sys.argv) > 4 else None
if offered:
    offered[0] = unhexlify(offered[0])
sys.path.insert(0, folder + "a")
receive.say = lambda *_: None
with open(folder[:-1] + ".release", "rb") as file:
    data = file.read()
gc.collect()
before = gc.mem_alloc()
most = 0
reason, text, taken = 0, "", 0
try:
    receiver = receive.Receiver(slots.Slots(folder, folder + "data"), kind, offered)
    try:
        for at in range(0, len(data), piece):
            receiver.write(data[at : at + piece])
            taken = receiver.taken
            gc.collect()
            most = max(most, gc.mem_alloc() - before)
        if offered is None and piece == 701:
            # A cell of the flash goes bad after it was written.
            with open(folder + "b/node/app.py", "wb") as file:
                file.write(b"something else")
        receiver.finish()
    finally:
        receiver.abandon()
except UpdateError as fault:
    reason, text = fault.reason, str(fault)
except OSError as fault:
    reason, text = 17, str(fault)
with open(folder + "slots", "rb") as file:
    state = list(file.read())
print(json.dumps({"reason": reason, "text": text, "heap": most, "taken": taken, "slots": state}))
