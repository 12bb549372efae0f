"""The one family of exceptions that this package raises.

Every decoder raises its own subclass and nothing else, whatever bytes it is given. `reason` is a short stable
word that is safe to log and to count: it never holds anything from the message.
"""


class ProtocolError(ValueError):
    """A message or a value is outside the contract. `reason` is a stable word, `str(error)` the same."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
