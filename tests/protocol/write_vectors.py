"""Write protocol/peilmerk_protocol/vectors/*.json: `python tests/protocol/write_vectors.py`.

The vectors are made by cbor2 and the standard library (see `independent`), not by the code they test. A test
holds the shipped files equal to what this writes. Bytes are lower-case hex. In cbor.json a value that JSON
cannot say is an object: {"bytes": hex} or {"map": [[key, value], …]}.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from vector_files import cbor, command, keys, manifest, profile, report, sealed, statement, topics

VECTORS = Path(__file__).parents[2] / "protocol" / "peilmerk_protocol" / "vectors"

FILES = {
    "cbor.json": cbor.content,
    "keys.json": keys.content,
    "topics.json": topics.content,
    "sealed.json": sealed.content,
    "report.json": report.content,
    "profile.json": profile.content,
    "statement.json": statement.content,
    "command.json": command.content,
    "manifest.json": manifest.content,
}


def text(name: str) -> str:
    """The whole of one vector file."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


def main() -> int:
    VECTORS.mkdir(exist_ok=True)
    for name in FILES:
        (VECTORS / name).write_text(text(name))
    print(f"wrote {len(FILES)} files to {VECTORS}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
