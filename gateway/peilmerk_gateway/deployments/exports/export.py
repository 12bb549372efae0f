"""Record, export and form put together: make the document, refuse what lacks or tells too much, write it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import yaml

from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports import (
    amsterdam,
    annex,
    dtpr,
    opendp,
    private,
    sensrnet,
    sign,
    sign_drawn,
)
from peilmerk_gateway.deployments.exports.needs import ExportError, Needs, Wish
from peilmerk_gateway.web.language import languages

__all__ = ["KINDS", "Kind", "Wish", "export", "languages"]


@dataclass(frozen=True)
class Kind:
    """One export: how its document is made, and how it is written in each form, the usual one first."""

    make: Callable[[Deployment, Wish, Needs], Any]
    forms: Mapping[str, Callable[[Any], bytes]]
    check: Mapping[str, Callable[[Any, Needs], None]]
    """What a form cannot write, by form."""


def _json(document: Any) -> bytes:
    return (json.dumps(document, ensure_ascii=False, indent=2) + "\n").encode()


class _Blocks(yaml.SafeDumper):
    """Writes texts of several lines as blocks, as the OpenDP registry wants them."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style="|" if "\n" in text else None)


_Blocks.add_representer(str, _text)


def _yaml(document: Any) -> bytes:
    return yaml.dump(document, Dumper=_Blocks, allow_unicode=True, sort_keys=False, width=2**31).encode()


def _rows_as_json(rows: list[dict[str, Any]]) -> bytes:
    return _json({amsterdam.SHEET: rows})


KINDS: Mapping[str, Kind] = {
    "amsterdam": Kind(amsterdam.make, {"csv": amsterdam.as_csv, "json": _rows_as_json}, {}),
    "sensrnet": Kind(sensrnet.make, {"json": _json}, {}),
    "dtpr": Kind(dtpr.make, {"json": _json}, {}),
    "sign": Kind(
        sign.make,
        {"svg": sign_drawn.as_svg, "pdf": sign_drawn.as_pdf},
        {"pdf": sign_drawn.check_letters},
    ),
    "opendp": Kind(opendp.make, {"yaml": _yaml, "json": _json}, {}),
    "annex": Kind(annex.make, {"md": annex.as_markdown}, {}),
}


def export(deployment: Deployment, kind: str, form: str, wish: Wish) -> bytes:
    """Return the bytes of an export. Raises ExportError with all that is lacking, KeyError for an unknown
    kind or form.
    """
    needs = Needs()
    chosen = KINDS[kind]
    write = chosen.forms[form]
    document = chosen.make(deployment, wish, needs)
    private.check(deployment, document, needs)
    if form in chosen.check:
        chosen.check[form](document, needs)
    if needs.complaints:
        raise ExportError(deployment.file, needs.complaints)
    return write(document)
