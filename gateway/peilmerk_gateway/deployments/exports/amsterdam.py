"""Rows for the sensor register of Amsterdam: the sheet "Sensorregistratie" of its form for many sensors.

The register takes a workbook with two sheets; these are the rows of the second, with its columns in its
order and its rules: one row a sensor, a type, at least one theme, numbers for latitude and longitude, "Ja"
or "Nee" for personal data, then with ground and declaration, a last day as DD-MM-YYYY. The first sheet
asks for the name, e-mail and telephone of the person who reports: who sends it in fills that in there.

Latitude and longitude are the middle of the public cell, and the remark says so. A board that measures
several things is several sensors to the register.

Source: the register's importer and form, github.com/Amsterdam/iot-api (2024-01): columns, types, themes,
checks.
"""

from __future__ import annotations

import csv
import io
from typing import Any

from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.measured import Group, groups_of, labels
from peilmerk_gateway.deployments.exports.needs import Needs, Wish
from peilmerk_gateway.deployments.record import Datastream, Record

SHEET = "Sensorregistratie"
THEMES = 8
# What the register's database holds of a goal.
GOAL_LENGTH = 255
COLUMNS = (
    "Referentie",
    "Kies soort / type sensor",
    "Latitude",
    "Longitude",
    "In welk gebied bevindt zich de mobiele sensor?",
    "Wat meet de sensor?",
    "Waarvoor meet u dat?",
    "Thema 1",
    *(f"Thema {number} (niet verplicht)" for number in range(2, THEMES + 1)),
    "Worden er persoonsgegevens verwerkt?",
    "Wettelijke grondslag",
    "Privacyverklaring",
    "Wanneer wordt de sensor verwijderd?",
    "Opmerking (niet verplicht)",
    "Project",
)

_TYPES = {
    Group.PASSAGES: "Aanwezigheid of nabijheidsensor",
    Group.AIR: "Chemiesensor",
    Group.WEATHER: "Klimaatsensor",
    Group.NOISE: "Geluidsensor",
}

# The themes that the form offers; a record may name them itself.
REGISTER_THEMES = frozenset(
    {
        "Economie: bouwen en verbouwen",
        "Economie: dienstensector",
        "Economie: marketing en reclame",
        "Economie: markttoezicht",
        "Milieu: afval",
        "Milieu: energie",
        "Milieu: geluid",
        "Milieu: klimaatverandering",
        "Milieu: natuur- en landschapsbeheer",
        "Milieu: stoffen",
        "Milieu: water, bodem, lucht",
        "Mobiliteit: auto",
        "Mobiliteit: fiets",
        "Mobiliteit: voetganger",
        "Mobiliteit: luchtvaart",
        "Mobiliteit: openbaar vervoer",
        "Mobiliteit: railverkeer",
        "Mobiliteit: scheepvaart",
        "Veiligheid: bewakings- en/of beveiligingscamera",
        "Veiligheid: gezondheid",
    }
)
_BY_GROUP = {
    Group.AIR: "Milieu: water, bodem, lucht",
    Group.WEATHER: "Milieu: water, bodem, lucht",
    Group.NOISE: "Milieu: geluid",
}
_BY_COUNTED = {
    "bicycle": "Mobiliteit: fiets",
    "pedestrian": "Mobiliteit: voetganger",
    "vehicle": "Mobiliteit: auto",
}

# Columns with words of the record at their beginning, and the fields these come from.
_FREE = {
    COLUMNS[4]: "location.regions",
    COLUMNS[6]: "purposes",
    "Wettelijke grondslag": "purposes[1].legal_ground",
    "Project": "project",
}
_FORMULA = ("=", "+", "-", "@", "\t")


def make(deployment: Deployment, wish: Wish, needs: Needs) -> list[dict[str, Any]]:
    """Return the rows, column -> text or number."""
    record = deployment.record
    needs.outdoors(record.location.indoor)
    goal, ground, declaration = _purpose(record, needs)
    rows = []
    for device in record.devices:
        cell = deployment.cells[device.name]
        for group, streams in groups_of(record, device).items():
            themes = _themes(group, streams, needs)
            row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
            row |= {
                "Referentie": f"{record.id}/{device.name}/{group}",
                "Kies soort / type sensor": _TYPES[group],
                "Latitude": cell.centre[1],
                "Longitude": cell.centre[0],
                "In welk gebied bevindt zich de mobiele sensor?": ";".join(record.location.regions),
                "Wat meet de sensor?": labels(streams, "nl"),
                "Waarvoor meet u dat?": goal,
                "Worden er persoonsgegevens verwerkt?": "Ja" if record.contains_personal_data else "Nee",
                "Wettelijke grondslag": ground,
                "Privacyverklaring": declaration,
                "Wanneer wordt de sensor verwijderd?": record.active_until.strftime("%d-%m-%Y"),
                "Opmerking (niet verplicht)": (
                    f"Plaats: het midden van vak {cell.id} ({cell.size_m} m), niet de precieze plek. "
                    f"{device.type}, {device.model}."
                ),
                "Project": record.project or "",
            }
            row |= dict(zip(COLUMNS[7 : 7 + THEMES], themes, strict=False))
            rows.append(row)
            for column, field in _FREE.items():
                if row[column].startswith(_FORMULA):
                    needs.lack(
                        field,
                        f"found {row[column][:1]!r} at its beginning, wanted a letter: "
                        "a spreadsheet takes it for a formula",
                    )
    return rows


def _purpose(record: Record, needs: Needs) -> tuple[str, str, str]:
    """Return goal, legal ground and privacy declaration: a row has one of each."""
    if not record.purposes:
        needs.lack("purposes", "not found, wanted at least one with its goal")
        return "", "", ""
    goal = needs.text("purposes", "; ".join(purpose.goal for purpose in record.purposes), GOAL_LENGTH)
    for number, purpose in enumerate(record.purposes, 1):
        where = f"purposes[{number}]"
        for key in ("legal_ground", "privacy_declaration_url"):
            if getattr(purpose, key) != getattr(record.purposes[0], key):
                needs.lack(f"{where}.{key}", "found another than that of purposes[1], wanted one for all")
    first = record.purposes[0]
    return goal, first.legal_ground or "", first.privacy_declaration_url or ""


def _themes(group: Group, streams: list[tuple[str, Datastream]], needs: Needs) -> list[str]:
    found: dict[str, None] = {}
    for field, stream in streams:
        own = [theme for theme in stream.themes if theme in REGISTER_THEMES]
        counted = stream.measures.name.partition("_")[0]
        derived = _BY_GROUP.get(group) or _BY_COUNTED.get(counted)
        if not own and derived is None:
            needs.lack(
                f"{field}.themes",
                f"found {', '.join(stream.themes)}, wanted one of the register's: "
                + "; ".join(sorted(theme for theme in REGISTER_THEMES if theme.startswith("Mobiliteit"))),
            )
        found |= dict.fromkeys(own or [derived or ""])
    if len(found) > THEMES:
        needs.lack(streams[0][0] + ".themes", f"found {len(found)} themes, wanted at most {THEMES} a sensor")
    return list(found)


def as_csv(rows: list[dict[str, Any]]) -> bytes:
    """Write the rows as CSV (RFC 4180, UTF-8) with the columns' names on top."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, COLUMNS)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
