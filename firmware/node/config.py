"""What the technician's command wrote onto the flash: /node.json, /identity.json and /trust.der.

`load` checks everything the firmware relies on, so that a mistake is one clear line on the console (file,
key, what was found, what was wanted) and not a crash later. Secrets are never part of a message.
"""

import json

from peilmerk_protocol import keys, profile, quantities, topics

_NTP = [["0.nl.pool.ntp.org", 123], ["1.nl.pool.ntp.org", 123], ["time.cloudflare.com", 123]]


class ConfigError(Exception):
    """Something on the flash is missing or not as it must be."""


class Config:
    """The checked settings of one board. Keys are bytes; wifi and ntp are lists of pairs."""

    def __init__(self, node, identity, authority, own_wifi=()):
        self.kind = _either(node, "node.json", "kind", "counter", "air")
        self.profile = self.issued_profile = _profile(_section(node, "node.json", "profile"))
        if not may_count(self.profile):
            raise ConfigError(
                "node.json: profile: found counts, wanted `device deploy --driver` of who counts"
            )
        # Agreed by a command: in force from the next window on.
        self.next_profile = None
        self.sensors = _of(node, "node.json", "sensors", list, "a list of drivers")
        for entry in self.sensors:
            _of({"sensors": entry}, "node.json", "sensors", dict, "a list of drivers")
        self.watchdog_s = _whole(node, "node.json", "watchdog_s", 0, 3600, 300)
        # Seconds between samples and between reports' sendings of a board that sleeps; 0: it stays awake.
        self.every_s = self.send_s = 0
        if "power" in node:
            self._power(_section(node, "node.json", "power"))
        link = _section(node, "node.json", "link")
        self.host = _string(link, "node.json: link", "host")
        self.port = _whole(link, "node.json: link", "port", 1, 65535, None)
        self.server_name = _string(link, "node.json: link", "server_name")
        self.timeout_s = _whole(link, "node.json: link", "timeout_s", 1, 3600, 30)
        # Where signed updates are fetched from: host, port, name in the server's certificate.
        self.update = None
        if "update" in link:
            where = "node.json: link: update"
            server = _section(link, "node.json: link", "update")
            self.update = (
                _string(server, where, "host"),
                _whole(server, where, "port", 1, 65535, None),
                _string(server, where, "server_name"),
            )
        self.ntp = _pairs(link, "ntp", int) or _NTP
        names = [pair[0] for pair in own_wifi]
        self.wifi = list(own_wifi) + [pair for pair in _pairs(link, "wifi", str) if pair[0] not in names]
        self.local_page = node.get("local_page", True) is True
        self.indicator = _pin(node, "indicator")
        self.button = _pin(node, "button")
        self.device_id = _string(identity, "identity.json", "device_id")
        if not topics.valid_device_id(self.device_id):
            raise ConfigError("identity.json: device_id: found %r, wanted 16 of a-z2-7" % self.device_id)
        # None on a board that was enrolled without one: it has no set-up and no local page.
        self.setup_password = identity.get("setup_password")
        self.mqtt_password = _string(identity, "identity.json", "mqtt_password")
        root_key = _root_key(identity)
        self.key = keys.derive(root_key, keys.UP)
        self.command_key = keys.derive(root_key, keys.DOWN)
        self.authority = authority

    def _power(self, power):
        if _either(power, "node.json: power", "mode", "mains", "battery") == "battery":
            if not may_sleep(self.profile):
                raise ConfigError("node.json: power: found battery for what must be watched without a break")
            window_s = self.profile.window_s
            self.reachable_s = _whole(power, "node.json: power", "reachable_s", 0, 3600, 120)
            self.every_s = _whole(power, "node.json: power", "every_s", 30, 3600, 300)
            self.send_s = _whole(power, "node.json: power", "send_s", window_s, 86400, window_s)


def may_sleep(profile):
    """Whether a board may sleep between samples: passers-by and noise have no second chance."""
    for number in quantities.members(profile.set):
        if quantities.is_count(number) or quantities.kind(number) == quantities.KIND_LEVEL:
            return False
    return True


def may_count(profile):
    """Whether this firmware can give what `profile` has: a count never leaves without noise, and a board that
    never counts carries no code for it.
    """
    if profile.set & quantities.COUNTS:
        try:
            from node.day import Day  # noqa: F401
        except ImportError:
            return False
    return True


def load(root="/"):
    """Read and check the three files below `root` (ends with a slash). Raises ConfigError."""
    return Config(
        _read_json(root, "node.json", "run `peilmerk device deploy`"),
        _read_json(root, "identity.json", "run `peilmerk device enrol`"),
        _read(root, "trust.der", "run `peilmerk device enrol`"),
        _own_wifi(root),
    )


def _own_wifi(root):
    """The networks that somebody chose at the board itself; a file that is not what it was counts as none."""
    try:
        return _pairs({"wifi": _read_json(root, "wifi.json", "", list)}, "wifi", str)
    except ConfigError:
        return []


def _read(root, name, remedy):
    try:
        with open(root + name, "rb") as file:
            data = file.read()
    except OSError:
        raise ConfigError("%s: not found: %s" % (name, remedy))
    if not data:
        raise ConfigError("%s: found an empty file: %s" % (name, remedy))
    return data


def _read_json(root, name, remedy, kind=dict):
    try:
        data = json.loads(_read(root, name, remedy).decode())
    except ValueError:
        raise ConfigError("%s: found something else, wanted JSON: %s" % (name, remedy))
    if not isinstance(data, kind):
        raise ConfigError("%s: found %s, wanted a JSON object" % (name, _shape(data)))
    return data


def _pin(node, key):
    """A light or a button: {"pin": number, "active": level}, or None."""
    spec = node.get(key)
    if spec is not None:
        _whole(_section(node, "node.json", key), "node.json: " + key, "pin", 0, 48, None)
        _whole(spec, "node.json: " + key, "active", 0, 1, 1)
    return spec


def _shape(value):
    return "nothing" if value is None else type(value).__name__


def _of(data, where, key, kind, wanted):
    value = data.get(key)
    if not isinstance(value, kind) or value == "":
        raise ConfigError("%s: %s: found %s, wanted %s" % (where, key, _shape(value), wanted))
    return value


def _section(data, where, key):
    return _of(data, where, key, dict, "a JSON object")


def _string(data, where, key):
    return _of(data, where, key, str, "text")


def _either(data, where, key, one, other):
    value = _string(data, where, key)
    if value not in (one, other):
        raise ConfigError("%s: %s: found %r, wanted %s or %s" % (where, key, value, one, other))
    return value


def _whole(data, where, key, lowest, highest, default):
    value = data.get(key, default)
    if not isinstance(value, int) or isinstance(value, bool) or not lowest <= value <= highest:
        raise ConfigError(
            "%s: %s: found %r, wanted a whole number of %d to %d" % (where, key, value, lowest, highest)
        )
    return value


def _pairs(link, key, second):
    if not link.get(key):
        return []
    pairs = _of(link, "node.json: link", key, list, "a list of pairs")
    for pair in pairs:
        if not isinstance(pair, list) or len(pair) != 2:
            raise ConfigError("node.json: link: %s: found an entry that is not a pair" % key)
        if not isinstance(pair[0], str) or not isinstance(pair[1], second):
            raise ConfigError("node.json: link: %s: found an entry of the wrong type" % key)
    return pairs


def _profile(data):
    keys_wanted = ("revision", "window_s", "set", "epsilon_leaf", "epsilon_day", "k", "m")
    for key in keys_wanted:
        if key not in data:
            raise ConfigError("node.json: profile: found no %s, wanted it" % key)
    try:
        return profile.Profile(*[data[key] for key in keys_wanted])
    except profile.ProfileError as fault:
        raise ConfigError("node.json: profile: found what the contract forbids: %s" % fault)


def _root_key(identity):
    try:
        key = bytes.fromhex(_string(identity, "identity.json", "root_key"))
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ConfigError("identity.json: root_key: found %d bytes, wanted 32 in hexadecimal" % len(key))
    return key
