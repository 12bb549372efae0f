"""topics.json: device ids, topics, and what is neither."""

from __future__ import annotations

import independent as other

from vector_files.parts import DEVICE


def content() -> dict[str, object]:
    prefix = f"peilmerk/1/{DEVICE}"
    return {
        "about": "Device ids of ten bytes, topics of device and kind, and topics that are refused.",
        "device_ids": [
            {"bytes": ten, "device_id": other.device_id(bytes.fromhex(ten))}
            for ten in ("00" * 10, "ff" * 10, "00443214c74254b635cf", "84653a56d7c675be77df")
        ],
        "vectors": [
            {"topic": f"{prefix}/{name}", "device_id": DEVICE, "kind": kind}
            for name, kind in other.KINDS.items()
        ],
        "invalid": [
            {"topic": "", "reason": "topic"},
            {"topic": "peilmerk", "reason": "topic"},
            {"topic": f"peilmerk/2/{DEVICE}/report", "reason": "topic"},
            {"topic": f"Peilmerk/1/{DEVICE}/report", "reason": "topic"},
            {"topic": f"/peilmerk/1/{DEVICE}/report", "reason": "topic"},
            {"topic": prefix, "reason": "topic"},
            {"topic": f"{prefix}/report/x", "reason": "topic"},
            {"topic": f"{prefix}/report/", "reason": "topic"},
            {"topic": f"{prefix}/" + "x" * 4000, "reason": "topic"},
            {"topic": f"{prefix}/reports", "reason": "kind"},
            {"topic": f"{prefix}/", "reason": "kind"},
            {"topic": f"{prefix}/+", "reason": "kind"},
            {"topic": f"peilmerk/1/{DEVICE[:-1]}/report", "reason": "device-id"},
            {"topic": f"peilmerk/1/{DEVICE.upper()}/report", "reason": "device-id"},
            {"topic": f"peilmerk/1/{DEVICE[:-1]}1/report", "reason": "device-id"},
            {"topic": f"peilmerk/1/{DEVICE[:-1]}\u0131/report", "reason": "device-id"},
            {"topic": "peilmerk/1/+/report", "reason": "device-id"},
            {"topic": "peilmerk/1//report", "reason": "device-id"},
        ],
    }
