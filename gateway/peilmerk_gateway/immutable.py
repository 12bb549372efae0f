"""Records of which a gateway makes a dozen a report: immutable to whoever reads and checks the code, cheap to
make.

A frozen dataclass guards itself at run time too, by setting each field through `object.__setattr__`: a
seventh of the processor time of a report went there. These are not guarded at run time; mypy refuses to
change them.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeVar, dataclass_transform

T = TypeVar("T")


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def immutable(cls: type[T]) -> type[T]:
    """Make a class a dataclass with slots, equal and hashed by its fields, whose instances nobody changes."""
    return dataclass(slots=True, unsafe_hash=True)(cls)
