"""Mosquitto's own password hash: `$7$<iterations>$<salt>$<hash>`, PBKDF2 with HMAC-SHA-512, both in Base64.

The format of mosquitto_passwd(1), read by Mosquitto 2.0 and newer (src/security_default.c).
"""

from __future__ import annotations

import base64
import hashlib
import re
import secrets

# As mosquitto_passwd has it. The passwords are 256 random bits: no number of iterations makes them harder to
# guess, and a thousand boards that reconnect at once do not cost the broker minutes of computing.
ITERATIONS = 101
SALT_BYTES = 12
HASH_BYTES = 64

PATTERN = re.compile(r"\$7\$[1-9][0-9]*\$[A-Za-z0-9+/]{16}\$[A-Za-z0-9+/]{86}==")


def hash_password(password: str, salt: bytes | None = None) -> str:
    """Return the hash of a password, with a salt of 12 random bytes unless one is given."""
    salt = secrets.token_bytes(SALT_BYTES) if salt is None else salt
    digest = hashlib.pbkdf2_hmac("sha512", password.encode(), salt, ITERATIONS, HASH_BYTES)
    return f"$7${ITERATIONS}${_text(salt)}${_text(digest)}"


def _text(raw: bytes) -> str:
    return base64.b64encode(raw).decode("ascii")
