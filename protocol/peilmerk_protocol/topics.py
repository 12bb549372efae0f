"""MQTT topics: `peilmerk/1/<device id>/<kind>`, and the device ids in them.

A device id is 16 characters of lower-case base32 (RFC 4648 alphabet, no padding): ten random bytes drawn at
enrolment (`device_ids`). It is never derived from a MAC address or a serial number.
"""

from peilmerk_protocol.error import ProtocolError

REPORT = 1
STATEMENT = 2
ACK = 3
COMMAND = 4
DAY = 5

KIND_NAMES = ("", "report", "statement", "ack", "command", "day")
"""Last level of the topic, by kind. All go up to the gateway, but for kind 4: down to the device."""

ID_LENGTH = 16
_PREFIX = "peilmerk/1/"
ALPHABET = "abcdefghijklmnopqrstuvwxyz234567"
"""Of device ids."""
# Longer than the longest topic of this contract, so that a hostile one is refused before it is taken apart.
_LONGEST = 48


class TopicError(ProtocolError):
    """Not a topic of this contract. Reasons: "topic", "device-id", "kind"."""


def valid_device_id(device_id: str) -> bool:
    """Tell whether this is 16 characters of [a-z2-7]."""
    if not isinstance(device_id, str) or len(device_id) != ID_LENGTH:
        return False
    for character in device_id:
        if character not in ALPHABET:
            return False
    return True


def topic(device_id: str, kind: int) -> str:
    """Build the topic of a device and a kind (REPORT, STATEMENT, ACK, COMMAND or DAY)."""
    if not valid_device_id(device_id):
        raise TopicError("device-id")
    if not REPORT <= kind <= DAY:
        raise TopicError("kind")
    return _PREFIX + device_id + "/" + KIND_NAMES[kind]


def parse(topic: str) -> "tuple[str, int]":
    """Split a topic into (device id, kind). TopicError for anything that `topic` would not have built."""
    if len(topic) > _LONGEST or not topic.startswith(_PREFIX):
        raise TopicError("topic")
    parts = topic[len(_PREFIX) :].split("/")
    if len(parts) != 2:
        raise TopicError("topic")
    device_id, name = parts
    if not valid_device_id(device_id):
        raise TopicError("device-id")
    for kind in range(REPORT, DAY + 1):
        if KIND_NAMES[kind] == name:
            return device_id, kind
    raise TopicError("kind")
