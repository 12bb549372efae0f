"""What is wrong in a TOML file, in words: pydantic's complaints as 'found …, wanted …' and keys as a person
writes them.

Settings and deployment records are read into pydantic models and explained with the same words.
"""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Collection, Sequence
from typing import Any

from pydantic import BaseModel

_SHOWN_CHARACTERS = 60
_A_DATE = "a date such as 2027-12-31"

# What a person would call what pydantic's types of complaint ask for.
_WANTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "date_from_datetime_parsing": _A_DATE,
    "date_parsing": _A_DATE,
    "date_type": _A_DATE,
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "more than {gt}",
    "greater_than_equal": "at least {ge}",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "less_than_equal": "at most {le}",
    "list_type": "a list",
    "path_type": "a path",
    "string_pattern_mismatch": "text of the form {pattern}",
    "string_too_long": "at most {max_length} characters",
    "string_too_short": "some text",
    "string_type": "text",
    "too_long": "at most {max_length}",
    "too_short": "at least {min_length}",
    "tuple_type": "a list",
    "url_parsing": "an http or https address",
    "url_scheme": "an http or https address",
}


def key(location: Sequence[str | int]) -> str:
    """Write ('sinks', 0, 'url') as a person would: sinks[1].url, counting from one."""
    text = ""
    for step in location:
        text += f"[{step + 1}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def found(value: object) -> str:
    """Show a value, shortened when it is long."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[: _SHOWN_CHARACTERS - 3]}..."


def is_told_elsewhere(problem: Any) -> bool:
    """Whether a complaint adds nothing: a list with one bad item is counted without it, and the item's own
    complaint says enough.
    """
    return problem["type"] == "too_short" and bool(problem["input"])


def found_and_wanted(problem: Any, *, shown: bool = True) -> str:
    """Return 'found …, wanted …' of a value that is there and is not right; not `shown`, the value is not."""
    wanted = _WANTED.get(problem["type"]) or problem["msg"].removeprefix("Input should be ")
    try:
        wanted = wanted.format_map(problem.get("ctx", {}))
    except KeyError:
        pass
    return f"found {found(problem['input']) if shown else 'something else'}, wanted {wanted}"


def nearest(model: type[BaseModel], location: Sequence[str | int], hidden: Collection[str] = ()) -> str:
    """Say which key of the table at `location` may have been meant, or which there are."""
    for step in location[:-1]:
        if isinstance(step, str) and step in model.model_fields:
            inner = _model_in(model.model_fields[step].annotation)
            if inner is None:
                break
            model = inner
    known = [name for name in model.model_fields if name not in hidden]
    near = difflib.get_close_matches(str(location[-1]), known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"wanted one of {', '.join(known)}"


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """Find the table's model in `Model`, `Model | None` or `tuple[Model, ...]`."""
    if isinstance(annotation, type) and not isinstance(annotation, types.GenericAlias):
        return annotation if issubclass(annotation, BaseModel) else None
    for part in typing.get_args(annotation):
        if (inner := _model_in(part)) is not None:
            return inner
    return None
