"""New device ids; they are drawn where devices are enrolled, so no board carries this."""

from peilmerk_protocol.topics import ALPHABET, TopicError


def new_device_id(random_bytes10: bytes) -> str:
    """Make a device id of ten random bytes; the caller brings the randomness. TopicError unless ten."""
    if len(random_bytes10) != 10:
        raise TopicError("device-id")
    number = int.from_bytes(random_bytes10, "big")
    characters = []
    for shift in range(75, -5, -5):
        characters.append(ALPHABET[(number >> shift) & 31])
    return "".join(characters)
