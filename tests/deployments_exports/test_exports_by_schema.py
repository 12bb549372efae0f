"""Each export against its register's schema, words and figures by value; what a record lacks, by field."""

from __future__ import annotations

import csv
import io
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
import yaml
from dossier import DOSSIER, RADIO, deployment, written
from jsonschema import FormatChecker
from jsonschema.validators import validator_for

from peilmerk_gateway.deployments.exports.amsterdam import COLUMNS
from peilmerk_gateway.deployments.exports.needs import ExportError
from peilmerk_gateway.errors import PeilmerkError

SCHEMAS = Path(__file__).with_name("schemas")
LOOP = (
    'measures = "bicycle_towards"\nobserved_property = "bicycle_towards"',
    'measures = "unclassified_towards"\nobserved_property = "unclassified_towards"',
)
QUIET = ("on_device_personal_data = true", "on_device_personal_data = false")
PERSONAL = ("contains_personal_data = false", "contains_personal_data = true")


def faults(name: str, document: Any) -> list[str]:
    schema = json.loads((SCHEMAS / f"{name}.json").read_text("utf-8"))
    validator = validator_for(schema)
    validator.check_schema(schema)
    found = validator(schema, format_checker=FormatChecker()).iter_errors(document)
    return [f"{error.json_path}: {error.message}" for error in found]


def rows(*changes: tuple[str, str]) -> list[dict[str, Any]]:
    made: dict[str, list[dict[str, Any]]] = json.loads(written("amsterdam", "json", *changes))
    assert list(made) == ["Sensorregistratie"]
    return made["Sensorregistratie"]


def test_amsterdam_has_a_row_for_each_kind_of_sensor() -> None:
    found = rows()
    assert faults("amsterdam", found) == []
    assert [list(row) for row in found] == [list(COLUMNS)] * 3
    assert [row["Referentie"] for row in found] == [
        "havenstraat/paal-1/passages",
        "havenstraat/paal-2/air",
        "havenstraat/paal-2/weather",
    ]
    assert [row["Wat meet de sensor?"] for row in found] == [
        "Fietsers, heen",
        "Fijnstof PM2,5",
        "Luchttemperatuur",
    ]
    first = found[0]
    assert first["Thema 1"] == "Mobiliteit: fiets"
    assert first["Waarvoor meet u dat?"] == "Veiliger oversteken; Schonere lucht"
    assert first["Wanneer wordt de sensor verwijderd?"] == "29-02-2028"
    assert first["In welk gebied bevindt zich de mobiele sensor?"] == "Centrum"
    assert (first["Longitude"], first["Latitude"]) == deployment().cells["paal-1"].centre
    assert first["Longitude"] != found[1]["Longitude"]


def test_amsterdams_csv_holds_the_same_rows() -> None:
    read = list(csv.DictReader(io.StringIO(written("amsterdam", "csv").decode(), newline="")))
    assert read == [{key: str(value) for key, value in row.items()} for row in rows()]


def test_amsterdam_takes_the_registers_own_theme_of_a_record() -> None:
    own = ('themes = ["mobiliteit"]', 'themes = ["Mobiliteit: voetganger", "Milieu: geluid", "eigen"]')
    first = rows(LOOP, own)[0]
    assert [first["Thema 1"], first["Thema 2 (niet verplicht)"]] == [
        "Mobiliteit: voetganger",
        "Milieu: geluid",
    ]
    assert first["Thema 3 (niet verplicht)"] == ""


@pytest.mark.parametrize(
    ("old", "field"),
    [
        ('goal = "Veiliger', "purposes"),
        ('project = "Verkeer', "project"),
        ('regions = ["Centrum', "location.regions"),
        ('legal_ground = "Publieke', "purposes[1].legal_ground"),
    ],
)
@pytest.mark.parametrize("sign", ["=", "+", "-", "@"])
def test_amsterdams_rows_hold_no_formula(old: str, field: str, sign: str) -> None:
    with pytest.raises(ExportError, match=re.escape(f"{field}: found {sign!r} at its beginning")):
        written("amsterdam", "csv", (old, old.replace('"', f'"{sign}')))


def test_amsterdam_with_personal_data_has_ground_and_declaration() -> None:
    found = rows(PERSONAL)
    assert faults("amsterdam", found) == []
    assert {row["Worden er persoonsgegevens verwerkt?"] for row in found} == {"Ja"}
    assert {row["Wettelijke grondslag"] for row in found} == {"Publieke taak"}


def test_sensrnet_nests_what_its_registry_takes() -> None:
    found = json.loads(written("sensrnet", "json"))
    assert faults("sensrnet", found) == []
    assert found["organization"] == {
        "name": "Gemeente Voorbeeld",
        "website": "https://www.voorbeeld.example/",
    }
    assert [goal["description"] for goal in found["observationGoals"]] == [
        "Veiliger oversteken",
        "Schonere lucht",
    ]
    assert found["observationGoals"][0]["legalGround"] == "Publieke taak"
    counter, air = found["devices"]
    assert counter["location"]["location"] == list(deployment().cells["paal-1"].centre)
    assert [sensor["type"] for sensor in air["sensors"]] == [
        "Air pollution sensor",
        "Environmental sensor / weather station",
    ]
    assert counter["sensors"][0]["supplier"] == "Leverancier & Zn"
    (pm,), (temperature,) = (sensor["datastreams"] for sensor in air["sensors"])
    assert (pm["theme"], pm["unitOfMeasurement"], pm["dataQuality"]) == (
        ["Air"],
        {"name": "µg/m³", "symbol": "ug/m3"},
        "indicatief",
    )
    assert [
        (s["isPublic"], s["isOpenData"]) for s in (*counter["sensors"][0]["datastreams"], pm, temperature)
    ] == [
        (True, True),
        (True, False),
        (False, False),
    ]
    ring = pm["observedArea"]["coordinates"][0]
    assert ring == [list(corner) for corner in deployment().cells["paal-2"].outline]
    assert ring[0] == ring[-1]


def test_dtpr_has_the_eight_categories_with_the_records_words() -> None:
    found = json.loads(written("dtpr", "json"))
    assert faults("dtpr", found) == []
    elements = {item["id"]: [element["id"] for element in item["elements"]] for item in found["categories"]}
    assert elements == {
        "device__accountable": ["organization"],
        "device__purpose": ["mobility", "health"],
        "device__tech": ["motion_detector", "air_quality", "weather_station"],
        "device__data": ["values_time"],
        "device__process": ["aggregated", "differential_privacy", "code_signing", "transport_layer_security"],
        "device__access": ["available_to_download"],
        "device__storage": [],
        "device__retention": ["data_retained"],
    }
    assert found["categories"][1]["name"] == {"nl": "Doel", "en": "Purpose"}
    assert found["categories"][1]["text"] == "Weten hoe druk het is en hoe schoon de lucht is."
    assert found["title"] == {
        "nl": "Fietsers, heen; Fijnstof PM2,5; Luchttemperatuur",
        "en": "Bicycles, towards; Fine particles PM2.5; Air temperature",
    }
    closed = json.loads(written("dtpr", "json", ("is_open_data = true", "is_open_data = false")))
    assert closed["categories"][5]["elements"] == [{"id": "available_to_the_accountable_organization"}]


def test_dtpr_names_a_radio_as_what_it_could_be() -> None:
    found = json.loads(written("dtpr", "json", *RADIO))
    assert faults("dtpr", found) == []
    assert [element["id"] for element in found["categories"][2]["elements"]] == [
        "identifiable_wifi_sensor",
        "air_quality",
        "weather_station",
    ]


def test_opendp_is_a_complete_draft_with_the_records_epsilon() -> None:
    found = json.loads(written("opendp", "json"))
    assert faults("opendp", found) == []
    told = found["deployment"]
    assert told["privacy_loss"]["privacy_parameters"] == {"epsilon": float(Fraction(7, 10) + Fraction(3, 10))}
    assert told["basic"]["publication_date"] == "2026-02-01"
    assert told["basic"]["description"].startswith(
        "Bicycles, towards: one figure for every 15 minutes and one for every day"
    )
    assert "at 1 sensor(s)" in told["basic"]["description"]
    assert (
        "4 times a day at one sensor is protected with epsilon 4 a day"
        in told["privacy_loss"]["privacy_unit_details"]
    )
    assert told["accounting"]["post_processing"] == "Noisy figures below 10 are withheld."
    assert told["dp_variant"]["unprotected_quantities"].endswith("Fine particles PM2.5; Air temperature")
    assert told["implementation"]["justification"] == (
        "Standard deviation of the noise: 2.0 for a window, 4.7 for the total of a day."
    )


def test_opendp_without_totals_of_the_day_claims_none() -> None:
    told = json.loads(written("opendp", "json", ('epsilon_day = "3/10"', 'epsilon_day = "0"')))["deployment"]
    assert told["privacy_loss"]["privacy_parameters"] == {"epsilon": 0.7}
    assert "day (UTC)" not in told["basic"]["description"]
    assert "sequential" not in told["accounting"]["composition"]
    assert told["implementation"]["justification"].endswith("2.0 for a window.")


def test_opendps_yaml_says_the_same_in_the_styles_that_its_check_takes() -> None:
    text = written("opendp", "yaml").decode()
    read = yaml.safe_load(text)
    assert read == json.loads(written("opendp", "json"))
    # A date in quotes: the registry wants text.
    assert isinstance(read["deployment"]["basic"]["publication_date"], str)
    styles = {token.style for token in yaml.scan(text) if isinstance(token, yaml.ScalarToken)}
    assert styles <= {None, "|", '"', "'"}
    assert "|" in styles


def without(table: str) -> tuple[str, str]:
    """Return the change that takes a table out of the record."""
    start = DOSSIER.index(f"[{table}]")
    return DOSSIER[start : DOSSIER.index("\n\n", start)], ""


NO_PURPOSES = [
    (DOSSIER[at : DOSSIER.index("\n\n", at)], "")
    for at in (DOSSIER.index("[[purposes]]"), DOSSIER.rindex("[[purposes]]"))
]


@pytest.mark.parametrize(
    ("kind", "form", "changes", "wanted"),
    [
        (
            "amsterdam",
            "csv",
            [LOOP],
            "datastreams[1].themes: found mobiliteit, wanted one of the register's: Mob",
        ),
        ("amsterdam", "csv", [QUIET, *NO_PURPOSES], "purposes: not found, wanted at least one with its goal"),
        (
            "amsterdam",
            "csv",
            [('goal = "V', f'goal = "{"V" * 240}')],
            "purposes: found 274 characters, wanted at most 255",
        ),
        (
            "amsterdam",
            "csv",
            [('"Publieke taak"', '"Toestemming"')],
            "purposes[2].legal_ground: found another than that of purposes[1], wanted one for all",
        ),
        (
            "amsterdam",
            "csv",
            [PERSONAL, ('legal_ground = "Publieke taak"\n', ""), ('legal_ground = "Publieke taak"\n', "")],
            "purposes[2].legal_ground: not found, wanted ",
        ),
        ("sensrnet", "json", [QUIET, *NO_PURPOSES], "purposes: not found"),
        (
            "sensrnet",
            "json",
            [('description = "Havenstraat', f'description = "{"H" * 256}')],
            "location.description: found 266 characters, wanted at most 255",
        ),
        (
            "dtpr",
            "json",
            [('dtpr_purpose = "health"\n', "")],
            "purposes[2].dtpr_purpose: not found, wanted one of accessibility, agency_interaction",
        ),
        (
            "dtpr",
            "json",
            [('dtpr_purpose = "health"', 'dtpr_purpose = "wealth"')],
            "purposes[2].dtpr_purpose: found 'wealth', wanted one of",
        ),
        ("opendp", "yaml", [("active_from = 2026-02-01\n", "")], "active_from: not found, wanted a date"),
        (
            "opendp",
            "yaml",
            [("is_public = true", "is_public = false")],
            "datastreams: found no count that is public",
        ),
        (
            "sign",
            "svg",
            [('public_contact = "sensoren@voorbeeld.example"\n', "")],
            "public_contact: not found",
        ),
        ("annex", "md", [("active_from = 2026-02-01\n", "")], "active_from: not found, wanted a date"),
        ("annex", "md", [without("roles")], "roles.controller: not found, wanted an answer"),
        (
            "annex",
            "md",
            [("on_device_personal_data = true\n", "")],
            "on_device_personal_data: not found, wanted ",
        ),
        (
            "annex",
            "md",
            [PERSONAL, QUIET, without("dpia")],
            "dpia: not found, wanted its status, because personal data leaves",
        ),
        (
            "annex",
            "md",
            [PERSONAL, ('legal_ground = "Publieke taak"\n', "")],
            "purposes[1].legal_ground: not found",
        ),
    ],
)
def test_what_a_record_lacks_is_named_by_its_field(
    kind: str, form: str, changes: list[tuple[str, str]], wanted: str
) -> None:
    # What no record may lack is refused when it is read, what an export wants besides when that is made.
    with pytest.raises(PeilmerkError) as caught:
        written(kind, form, *changes)
    assert re.search(rf"^havenstraat\.toml: (G\d: )?{re.escape(wanted)}", str(caught.value), re.MULTILINE)


def test_all_that_is_lacking_is_told_at_once() -> None:
    with pytest.raises(ExportError) as caught:
        written("annex", "md", QUIET, ("active_from = 2026-02-01\n", ""), without("roles"), *NO_PURPOSES)
    assert [complaint.key for complaint in caught.value.complaints] == [
        "active_from",
        "roles.controller",
        "purposes",
    ]
