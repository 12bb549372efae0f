"""What no export may say: the exact place, the ids of boards, and what the record tells of a person.

The exports do not read these fields. This looks at what they made all the same, because texts of a record
are free: a telephone number in a description, a point in a goal. Words are compared without case and
signs, numbers by value; the corners and the middle of the public cell are no secret.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from typing import Any

from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.needs import Needs

_NUMBER = re.compile(r"\d+[.,]\d+")
# What may stand between the digits of a number that people dial, and before it instead of its 0.
_BETWEEN = r"[\s().-]*"
_PREFIX = r"(?:(?:\+|00)31|0)?"
_DIGITS = 7


def check(deployment: Deployment, document: Any, needs: Needs) -> None:
    """Note every private field of the record that the document repeats. The note does not repeat it."""
    said = list(_leaves(document))
    texts = [leaf for leaf in said if isinstance(leaf, str)]
    words = [_words(text) for text in texts]
    numbers = {leaf for leaf in said if isinstance(leaf, float)}
    numbers |= {float(found.replace(",", ".")) for text in texts for found in _NUMBER.findall(text)}
    for field, value in _private_texts(deployment):
        wanted, number = _words(value), _number(value)
        if any(_holds(found, wanted) for found in words) or (
            number is not None and any(number.search(text) for text in texts)
        ):
            needs.lack(field, "found in a text of the export, wanted it in nothing that is public")
    for field, degrees in _places(deployment):
        if degrees in numbers:
            needs.lack(field, "found in a text of the export, wanted it in nothing that is public")


def _private_texts(deployment: Deployment) -> Iterator[tuple[str, str]]:
    record = deployment.record
    public = _words(record.public_contact or "")
    for name in ("name", "email", "phone", "address", "kvk"):
        value = getattr(record.owner, name)
        # Who puts an address under public_contact as well has made it public.
        if value is not None and not (name in ("email", "phone") and _holds(public, _words(value))):
            yield f"owner.{name}", value
    for number, device in enumerate(record.devices, 1):
        yield f"devices[{number}].device_id", device.device_id
        if device.bgt_object_id is not None:
            # The very lamp post.
            yield f"devices[{number}].bgt_object_id", device.bgt_object_id


def _places(deployment: Deployment) -> Iterator[tuple[str, float]]:
    record = deployment.record
    cells = {
        degrees
        for cell in deployment.cells.values()
        for place in (*cell.outline, cell.centre)
        for degrees in place
    }
    points = [("location.point", record.location.point)] if record.location.point is not None else []
    points += [
        (f"devices[{number}].point", device.point)
        for number, device in enumerate(record.devices, 1)
        if device.point is not None
    ]
    for field, point in points:
        for degrees in (point.longitude, point.latitude):
            if degrees not in cells:
                yield field, degrees


def _leaves(document: Any) -> Iterator[Any]:
    if isinstance(document, dict):
        for key, value in document.items():
            yield from _leaves(key)
            yield from _leaves(value)
    elif isinstance(document, list | tuple):
        for value in document:
            yield from _leaves(value)
    elif is_dataclass(document):
        for field in fields(document):
            yield from _leaves(getattr(document, field.name))
    else:
        yield document


def _words(text: str) -> list[str]:
    # A backslash is how Markdown writes a sign that is none.
    return re.findall(r"\w+", text.replace("\\", "").casefold())


def _number(value: str) -> re.Pattern[str] | None:
    """Return what finds a number however it is grouped; None for what is no number, or a short one."""
    digits = re.sub(r"\D", "", value).lstrip("0")
    if len(digits) < _DIGITS or re.search(r"[^\W\d]", value):
        return None
    return re.compile(rf"(?<!\d){_PREFIX}{_BETWEEN}{_BETWEEN.join(digits)}(?!\d)")


def _holds(words: list[str], wanted: list[str]) -> bool:
    """Whether the wanted words stand in `words` one after the other."""
    count = len(wanted)
    return count > 0 and any(words[at : at + count] == wanted for at in range(len(words) - count + 1))
