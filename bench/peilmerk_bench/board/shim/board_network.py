# ruff: noqa: RET503, RUF012
"""The board's `network`: joining a wireless network as ESP32 shows it.

Only the association is simulated, as a state machine in world time over the networks that the supervisor
knows; whatever goes through a socket is the host's real network. The access point is one in name: the
supervisor is told its settings, and what the board serves is on the host's loopback (board_socket).
"""

import bus
import worldtime

STA_IF = 0
AP_IF = 1
STAT_IDLE = 1000
STAT_CONNECTING = 1001
STAT_GOT_IP = 1010
STAT_BEACON_TIMEOUT = 200
STAT_NO_AP_FOUND = 201
STAT_WRONG_PASSWORD = 202
STAT_ASSOC_FAIL = 203
STAT_HANDSHAKE_TIMEOUT = 204
MODE_11B = 1
MODE_11G = 2
MODE_11N = 4
AUTH_OPEN = 0
AUTH_WPA2_PSK = 3

_settings = {"hostname": "mpy-esp32", "country": "XX"}


def hostname(name=None):
    if name is None:
        return _settings["hostname"]
    _settings["hostname"] = name


def country(code=None):
    if code is None:
        return _settings["country"]
    _settings["country"] = code


class WLAN:
    IF_STA = 0
    IF_AP = 1
    SEC_OPEN = 0
    SEC_WPA2 = 3
    PM_NONE = 0
    PM_PERFORMANCE = 1
    PM_POWERSAVE = 2

    _made = {}

    def __new__(cls, interface=0):
        station = cls._made.get(interface)
        if station is None:
            cls._made[interface] = station = super().__new__(cls)
            station._interface = interface
            station._active = False
            station._status = STAT_IDLE
            station._credentials = None
            station._entry = None
            station._hangs = False
            station._config = {
                "pm": 1,
                "channel": 6,
                "txpower": 20,
                "reconnects": -1,
                "ssid": "" if interface == STA_IF else "ESP_" + bus.call("mac")[-6:].upper(),
                "essid": "",
                "security": 0,
                "key": "",
            }
        return station

    def __init__(self, interface=0):
        worldtime.on_push("wifi", self._changed)
        worldtime.on_push("radio_hangs", self._hang)

    def active(self, on=None):
        if on is None:
            return self._active
        self._active = bool(on)
        self._hangs = self._hangs and self._active
        if self._interface == AP_IF:
            self._tell()
        elif not on:
            self.disconnect()

    def _tell(self):
        told = self._config
        bus.post("access_point", self._active, told["ssid"], told["key"], told["security"])

    def connect(self, ssid=None, key=None, *, bssid=None):
        if not self._active:
            raise OSError("Wifi Not Started")
        if ssid is not None:
            self._credentials = (ssid, key)
        self._join()

    def _join(self):
        self._drop()
        self._status = STAT_CONNECTING
        if self._hangs:
            return
        status, delay = bus.call("wifi", worldtime.now(), *self._credentials)
        self._entry = worldtime.at(worldtime.now() + delay, self._joined, status)

    def _joined(self, status):
        self._entry = None
        self._status = status

    def _drop(self):
        if self._entry is not None:
            worldtime.forget(self._entry)
            self._entry = None

    def _hang(self):
        """From now on it hears nothing, whatever it is told, until it is switched off."""
        if self._interface == STA_IF and self._active:
            self._hangs = True
            self._join()

    def _changed(self):
        """A network came or went: a station that wants to be in one tries again, as ESP32 does by itself."""
        if self._interface == STA_IF and self._credentials and self._active:
            self._join()

    def disconnect(self):
        self._drop()
        self._credentials = None
        self._status = STAT_IDLE

    def isconnected(self):
        worldtime.now()
        if self._interface == AP_IF:
            return False
        return self._status == STAT_GOT_IP

    def status(self, name=None):
        worldtime.now()
        if name == "rssi":
            return -55
        if name == "stations":
            return [(bytes(6),)] * bus.call("visitors")
        return self._status

    def ifconfig(self, setting=None):
        here = self._active if self._interface == AP_IF else self.isconnected()
        if not here:
            return "0.0.0.0", "255.0.0.0", "0.0.0.0", "0.0.0.0"
        address = "127.0.0.1" if self._interface == AP_IF else bus.call("address")
        return address, "255.0.0.0", "127.0.0.1", "127.0.0.1"

    def ipconfig(self, name=None, **settings):
        if name == "addr4":
            return self.ifconfig()[:2]
        if name == "has_dhcp4":
            return self.isconnected()

    def config(self, name=None, **settings):
        if name is None:
            self._config.update(settings)
            if self._interface == AP_IF:
                self._tell()
            return None
        if name == "mac":
            return bytes.fromhex(bus.call("mac"))
        if name in ("ssid", "essid") and self._interface == STA_IF:
            return self._credentials[0] if self._credentials else ""
        if name not in self._config:
            raise ValueError("unknown config param")
        return self._config[name]

    def scan(self):
        if not self._active:
            raise OSError("Wifi Not Started")
        return [(name.encode(), b"\x02\0\0\0\0\x01", 6, -55, 3, False) for name in bus.call("wifi_scan")]
