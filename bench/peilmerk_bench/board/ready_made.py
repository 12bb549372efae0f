"""A board as a technician leaves it, without one: firmware, settings and an identity on a flash image.

For looking at what a citizen sees. The identity is in no registry and the gateway that it names is not there.
"""

from __future__ import annotations

import json
import secrets
import tempfile
from pathlib import Path

from littlefs import LittleFS

from peilmerk_bench.board.spec import BLOCK_BYTES, FLASH_BYTES, WifiNetwork
from peilmerk_gateway.trust import ensure_authority
from peilmerk_provisioning import bundle, kinds
from peilmerk_provisioning.label import setup_password

NETWORKS = (WifiNetwork("Thuis", "welkom thuis"), WifiNetwork("De buren", "niet van ons"))
"""Who is in the air around a ready-made board: the first is its host's."""

_ID_LETTERS = "abcdefghijklmnopqrstuvwxyz234567"


def ready_made(path: Path, kind: str) -> str:
    """Write a board of this kind that knows no Wi-Fi yet to a flash image; return its setup password."""
    settings = kinds.node_settings(kind)
    settings["link"] = {"host": "127.0.0.1", "port": 8883, "server_name": "gateway.invalid"}
    password = setup_password()
    identity = {
        "device_id": "".join(secrets.choice(_ID_LETTERS) for _ in range(16)),
        "mqtt_password": secrets.token_urlsafe(24),
        "root_key": secrets.token_hex(32),
        "setup_password": password,
    }
    with tempfile.TemporaryDirectory(prefix="peilmerk-trust-") as folder:
        certificate, _ = ensure_authority(Path(folder))
        trust = _der(certificate)
    files = bundle.build(kind=kind).placed() | {
        "node.json": json.dumps(settings).encode(),
        "identity.json": json.dumps(identity).encode(),
        "trust.der": trust,
    }
    disk = LittleFS(block_size=BLOCK_BYTES, block_count=FLASH_BYTES // BLOCK_BYTES, disk_version=0x00020000)
    for name, data in files.items():
        if "/" in name:
            disk.makedirs(name.rpartition("/")[0], exist_ok=True)
        with disk.open(name, "wb") as file:
            file.write(data)
    path.write_bytes(disk.context.buffer)
    return password


def _der(certificate: Path) -> bytes:
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding

    return x509.load_pem_x509_certificate(certificate.read_bytes()).public_bytes(Encoding.DER)
