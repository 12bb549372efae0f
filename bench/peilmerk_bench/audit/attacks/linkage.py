"""Linkage: whose sensor it is, and which sensor it was in another data set.

`canaries` are what only the owner's papers may hold: a name, an e-mail address, a serial number. They are
looked for in every public byte, in any spelling of case and space. `matches` takes two data sets about the
same sensors, and pairs those descriptions that share a word or number which no other has; the longer a word,
the more it weighs.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from peilmerk_bench.audit.attacks.score import Score

CANARIES = "canaries found in public bytes, share"
MATCHES = "sensors recognised in another data set, share"
LIMIT = 0.5


def folded(text: str) -> str:
    """Return a text without the differences that do not matter: case, space."""
    return re.sub(r"\s+", " ", text).casefold()


def found_in(public: Mapping[str, str], canaries: Mapping[str, str]) -> dict[str, list[str]]:
    """Return which canaries are in which public documents, by their names."""
    texts = {where: folded(text) for where, text in public.items()}
    return {
        name: where
        for name, canary in canaries.items()
        if (where := [place for place, text in texts.items() if folded(canary) in text])
    }


def score_canaries(
    side: str, public: Mapping[str, str], canaries: Mapping[str, str], known: Mapping[str, str]
) -> Score:
    """Look for canaries; `known` is what has to be there, which shows that the search can find."""
    found = found_in(public, canaries)
    seen = found_in(public, known)
    some = list(found.items())[:3]
    words = "; ".join(f"{name} in {', '.join(where[:3])}" for name, where in some)
    return Score(
        "linkage by canary",
        side,
        CANARIES,
        len(found) / len(canaries),
        0.0,
        0.0,
        0.0,
        len(canaries),
        f"{len(seen)} of {len(known)} public words found in {len(public)} documents of "
        f"{sum(map(len, public.values()))} characters" + (f"; {words}" if words else ""),
    )


def words_of(description: Any) -> Iterator[str]:
    """Give every text and number of a description, and what its texts are made of; no links."""
    if isinstance(description, Mapping):
        for key, value in description.items():
            if "@iot" not in key and "Link" not in key:
                yield from words_of(value)
    elif isinstance(description, list | tuple):
        for value in description:
            yield from words_of(value)
    elif isinstance(description, str):
        yield description
        yield from re.findall(r"[\w.@+-]{4,}", description)
    elif description is not None and not isinstance(description, bool):
        yield str(description)


def matches(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, str]:
    """Pair descriptions of two data sets, {thing: thing}: by what is in one of each and in no other."""
    places = [_places(one), _places(other)]
    votes: dict[str, Counter[str]] = {}
    for word, here in places[0].items():
        there = places[1].get(word, set())
        if len(here) == len(there) == 1:
            votes.setdefault(next(iter(here)), Counter())[next(iter(there))] += len(word)
    return {thing: found.most_common(1)[0][0] for thing, found in votes.items()}


def _places(descriptions: Mapping[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for thing, description in descriptions.items():
        for word in {thing, *words_of(description)}:
            found.setdefault(word, set()).add(thing)
    return found


def score_matches(
    side: str, one: Mapping[str, Any], other: Mapping[str, Any], same: Mapping[str, str]
) -> Score:
    """Mark the pairs against `same`, {thing in one: the same sensor's name in the other}."""
    found = matches(one, other)
    right = sum(same[thing] == pair for thing, pair in found.items() if thing in same)
    chance = 1 / len(other)
    return Score(
        "linkage of data sets",
        side,
        MATCHES,
        right / len(same),
        chance,
        LIMIT,
        0.0,
        len(same),
        f"{len(found)} pairs share a word that no other sensor has, {right} of them right",
    )


def score_ids(side: str, one: Sequence[str], other: Sequence[str]) -> Score:
    """Say which share of the ids of a data set is in another one too, where nobody knows which belong
    together.
    """
    here, there = set(one), set(other)
    return Score(
        "linkage of data sets",
        side,
        "ids that are the same in two data sets, share",
        len(here & there) / len(here),
        0.0,
        0.0,
        0.0,
        len(here),
        f"{len(here & there)} of {len(here)} ids are in the other file too",
    )
