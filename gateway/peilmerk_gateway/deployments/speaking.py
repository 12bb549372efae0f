"""In which language a command speaks to an officer: as asked, else as the terminal's own settings say."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Annotated

import typer

from peilmerk_gateway.web.language import LANGUAGES, Language, languages

LanguageOption = Annotated[
    str | None,
    typer.Option("--language", metavar="nl|en", help="Language of the answers; else that of the terminal."),
]


def language(asked: str | None, environment: Mapping[str, str] = os.environ) -> Language:
    """Return the language that was asked for, else the locale's (LC_ALL, LC_MESSAGES, LANG), else English.

    Raises typer.BadParameter for one that there is not.
    """
    if asked is None:
        locale = next(
            (found for name in ("LC_ALL", "LC_MESSAGES", "LANG") if (found := environment.get(name))), ""
        )
        asked = "nl" if locale.lower().startswith("nl") else "en"
    if asked not in LANGUAGES:
        raise typer.BadParameter(f"found {asked!r}, wanted nl or en", param_hint="--language")
    return languages()[asked]
