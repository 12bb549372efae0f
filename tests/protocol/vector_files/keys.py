"""keys.json: HMAC and HKDF as their RFCs have them, and the keys of a device."""

from __future__ import annotations

import independent as other

from vector_files.parts import ROOT


def content() -> dict[str, object]:
    """RFC 4231 (HMAC-SHA-256; case 5 is about truncation and is cut as there) and RFC 5869, appendix A."""
    long_key = "aa" * 131
    hmac_rows = [
        ("0b" * 20, b"Hi There".hex(), "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"),
        (
            b"Jefe".hex(),
            b"what do ya want for nothing?".hex(),
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843",
        ),
        ("aa" * 20, "dd" * 50, "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"),
        (
            bytes(range(1, 26)).hex(),
            "cd" * 50,
            "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b",
        ),
        ("0c" * 20, b"Test With Truncation".hex(), "a3b6167473100ee06e0c796c2955552b"),
        (
            long_key,
            b"Test Using Larger Than Block-Size Key - Hash Key First".hex(),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54",
        ),
        (
            long_key,
            (
                b"This is a test using a larger than block-size key and a larger than block-size data. "
                b"The key needs to be hashed before being used by the HMAC algorithm."
            ).hex(),
            "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2",
        ),
    ]
    hkdf_rows = [
        (
            "0b" * 22,
            "000102030405060708090a0b0c",
            "f0f1f2f3f4f5f6f7f8f9",
            "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865",
        ),
        (
            bytes(range(0x50)).hex(),
            bytes(range(0x60, 0xB0)).hex(),
            bytes(range(0xB0, 0x100)).hex(),
            "b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09"
            "da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87",
        ),
        (
            "0b" * 22,
            "",
            "",
            "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8",
        ),
    ]
    return {
        "about": "hmac: RFC 4231 cases 1 to 7 (5 is cut to 16 bytes there). hkdf: RFC 5869, A.1 to A.3. "
        "derive: this contract.",
        "hmac": [{"key": key, "message": message, "mac": mac} for key, message, mac in hmac_rows],
        "hkdf": [{"ikm": ikm, "salt": salt, "info": info, "okm": okm} for ikm, salt, info, okm in hkdf_rows],
        "derive": [
            {
                "root_key": root.hex(),
                "up": other.derive(root, "up").hex(),
                "down": other.derive(root, "down").hex(),
            }
            for root in (ROOT, bytes(32), b"\xff" * 32)
        ],
    }
