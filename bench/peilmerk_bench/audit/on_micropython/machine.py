"""The memory of the board's clock; in `RTC.file` it outlives the process, as the real one does a reset."""


class RTC:
    file = None
    kept = b""

    def memory(self, data=None):
        if data is not None:
            RTC.kept = bytes(data)
            if RTC.file:
                with open(RTC.file, "wb") as file:
                    file.write(RTC.kept)
            return None
        return RTC.kept

    def datetime(self, value=None):
        return value


def reset_cause():
    return 1
