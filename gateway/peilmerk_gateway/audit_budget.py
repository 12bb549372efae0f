"""What was spent of privacy, in words and figures: by deployment, class and day, or over a year.

The unit of privacy is one passage in one window. What a passage cost at a sensor on a day is the epsilon of
its window and that of the day's total. Somebody who passes m times that day costs m times as much, and along
several sensors what each of them costs adds up (m is assumed, and stated in the deployment's record). Over
days it adds up too: basic composition, which holds whatever is done with the figures.

Sums are of millionths, as the ledger has them; a binary fraction is only what JSON shows.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import Any

from rich.table import Table

from peilmerk_gateway.store.rows import SpentLine
from peilmerk_gateway.web.language import Language
from peilmerk_protocol.quantities_names import by_number

_EPOCH = date(1970, 1, 1).toordinal()


def day_number(day: date) -> int:
    """Return a day as days since 1970-01-01."""
    return day.toordinal() - _EPOCH


def _date(number: int) -> date:
    return date.fromordinal(number + _EPOCH)


@dataclass(frozen=True, slots=True)
class Spent:
    """What one class of one deployment cost on a day or in a year (`when`); epsilons in millionths.

    `passage`: of one passage at the dearest sensor, `window` and `total` of it being its window's and its
    day's total's; over a year, one passage on every day of it. `everywhere`: of one passage at every sensor.
    `m`: passages a day that the record assumes, None where there is no record any more.
    """

    deployment: str
    quantity: int
    when: str
    days: int
    sensors: int
    windows: int
    all_windows: int
    all_days: int
    window: int
    total: int
    everywhere: int
    m: int | None

    @property
    def passage(self) -> int:
        """What one passage cost at one sensor."""
        return self.window + self.total

    @property
    def person(self) -> int | None:
        """What somebody costs who passes m times a day at one sensor."""
        return None if self.m is None else self.m * self.passage

    def figures(self) -> dict[str, Any]:
        """Return it for JSON."""
        person = self.person
        return {
            "deployment": self.deployment,
            "class": by_number(self.quantity).name,
            "when": self.when,
            "days": self.days,
            "sensors": self.sensors,
            "windows": self.windows,
            "epsilon_of_windows": self.all_windows / 1e6,
            "epsilon_of_days": self.all_days / 1e6,
            "epsilon_passage": self.passage / 1e6,
            "m_assumed": self.m,
            "epsilon_person": None if person is None else person / 1e6,
            "epsilon_passage_at_every_sensor": self.everywhere / 1e6,
        }


def by_day(lines: Sequence[SpentLine], m: Mapping[str, int]) -> list[Spent]:
    """Sum up by deployment, class and day; `lines` are in that order."""
    found = []
    for (deployment, quantity, day), group in groupby(
        lines, key=lambda line: (line.deployment, line.quantity, line.day)
    ):
        boards = list(group)
        dearest = max(boards, key=lambda line: line.dearest_micro + line.day_micro)
        found.append(
            Spent(
                deployment=deployment,
                quantity=quantity,
                when=_date(day).isoformat(),
                days=1,
                sensors=len(boards),
                windows=sum(line.windows for line in boards),
                all_windows=sum(line.windows_micro for line in boards),
                all_days=sum(line.day_micro for line in boards),
                window=dearest.dearest_micro,
                total=dearest.day_micro,
                everywhere=sum(line.dearest_micro + line.day_micro for line in boards),
                m=m.get(deployment),
            )
        )
    return found


def by_year(lines: Sequence[SpentLine], year: int, m: Mapping[str, int]) -> list[Spent]:
    """Sum up by deployment and class; at one sensor means at the one that is dearest over the year."""
    found = []
    for (deployment, quantity), group in groupby(lines, key=lambda line: (line.deployment, line.quantity)):
        some = list(group)
        boards: dict[str, tuple[int, int]] = {}
        for line in some:
            window, total = boards.get(line.device_id, (0, 0))
            boards[line.device_id] = (window + line.dearest_micro, total + line.day_micro)
        window, total = max(boards.values(), key=sum)
        found.append(
            Spent(
                deployment=deployment,
                quantity=quantity,
                when=str(year),
                days=len({line.day for line in some}),
                sensors=len(boards),
                windows=sum(line.windows for line in some),
                all_windows=sum(line.windows_micro for line in some),
                all_days=sum(line.day_micro for line in some),
                window=window,
                total=total,
                everywhere=sum(map(sum, boards.values())),
                m=m.get(deployment),
            )
        )
    return found


def tables(spent: Sequence[Spent], language: Language) -> list[Table]:
    """Return the tables for people, one a deployment."""
    found = []
    for deployment, group in groupby(spent, key=lambda row: row.deployment):
        made = Table(
            title=f"{language.text('spent.deployment')} {deployment}",
            title_justify="left",
            title_style="bold",
            box=None,
        )
        for name in ("class", "when", "sensors", "windows", "passage", "person"):
            is_word = name in ("class", "when")
            made.add_column(
                language.text(f"spent.{name}"), justify="left" if is_word else "right", no_wrap=is_word
            )
        for row in group:
            person = row.person
            made.add_row(
                by_number(row.quantity).name,
                row.when,
                language.number(row.sensors),
                language.number(row.windows),
                language.amount(row.passage / 1e6),
                "?" if person is None else language.amount(person / 1e6),
            )
        found.append(made)
    return found


def statements(spent: Sequence[Spent], language: Language) -> list[str]:
    """Say of each deployment what m passages cost on its dearest day, or what a year of them adds up to."""
    said = []
    for deployment, group in groupby(spent, key=lambda row: row.deployment):
        row = max(group, key=lambda row: row.passage)
        if row.m is None or row.person is None:
            said.append(f"{deployment}: {language.text('spent.no-record')}")
            continue
        told = {
            "leaf": language.amount(row.window / 1e6),
            "day": language.amount(row.total / 1e6),
            "passage": language.amount(row.passage / 1e6),
            "m": row.m,
            "person": language.amount(row.person / 1e6),
        }
        # A total is released when its day is over; until then there is nothing to say of it.
        key = "spent.year" if row.days > 1 else "budget.text" if row.total else "spent.day.windows"
        said.append(f"{deployment}: {language.text(key, **told, days=language.number(row.days))}")
    return said
