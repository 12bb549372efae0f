"""Write a record, or the answers for one, as TOML: what tomllib reads back is the same."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import date
from typing import Any


def as_toml(document: Mapping[str, Any]) -> str:
    """Return a document of tables, lists, text, numbers, dates and truth values; what is None is left out."""
    return "\n".join(_table(document)) + "\n"


def _table(values: Mapping[str, Any], path: str = "") -> list[str]:
    """Write a table: its own values, then the tables in it, then the lists of tables."""
    lines, deeper = [], []
    for key, value in values.items():
        name = f"{path}.{key}" if path else key
        if value is None:
            continue
        if isinstance(value, dict) and key != "point":
            deeper += ["", f"[{name}]", *_table(value, name)]
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            for item in value:
                deeper += ["", f"[[{name}]]", *_table(item, name)]
        else:
            lines.append(f"{key} = {_value(value)}")
    return lines + deeper


def _value(value: Any) -> str:
    """Write a value; JSON's strings, whole numbers, truth values and lists are TOML's too."""
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    if isinstance(value, date):
        return value.isoformat()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
