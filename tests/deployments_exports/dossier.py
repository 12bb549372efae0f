"""A whole record with two boards, in which everything that is private is a canary."""

from __future__ import annotations

from pathlib import Path

from peilmerk_gateway.deployments.deployment import Deployment, parse
from peilmerk_gateway.deployments.exports.export import export
from peilmerk_gateway.deployments.exports.needs import Wish

FILE = Path("havenstraat.toml")
PAGE = "https://sensoren.voorbeeld.example/"
EXAMPLE = Path(__file__).parents[2] / "docs" / "deployment-example.toml"

CANARIES = {
    "owner.name": "Kanarie Zangvogel",
    "owner.email": "vogel_post@volière.example",
    "owner.phone": "06-98765432",
    "owner.address": "Volièrelaan 77, Vogelwijk",
    "owner.kvk": "87654321",
    "devices[1].device_id": "kanariekanarie22",
    "devices[2].device_id": "kanariekanarie33",
    "devices[1].bgt_object_id": "G0344.kanarie4711",
}
# Words of them that stand nowhere else in the record.
PIECES = ("kanarie", "zangvogel", "vogel_post", "volière", "98765432", "vogelwijk", "87654321", "4711")
# longitude and latitude, as the record has them.
POINTS = ("5.1214987", "52.0907654", "5.1300123", "52.0911987")

DOSSIER = f"""
id = "havenstraat"
reference = "Z-2026-001"
project = "Verkeer in beeld"
version = "3"
signed_by = "de wethouder"
public_contact = "sensoren@voorbeeld.example"
contains_personal_data = false
on_device_personal_data = true
notified_at = 2026-01-05
active_from = 2026-02-01
active_until = 2028-02-29
evaluate_on = 2027-02-01
objection_url = "https://www.voorbeeld.example/bezwaar"

[owner]
organisation = "Gemeente Voorbeeld"
name = "{CANARIES["owner.name"]}"
email = "{CANARIES["owner.email"]}"
phone = "{CANARIES["owner.phone"]}"
address = "{CANARIES["owner.address"]}"
kvk = "{CANARIES["owner.kvk"]}"
website = "https://www.voorbeeld.example/"

[roles]
controller = "College van Voorbeeld"
processor = "Bureau Meetnet"
supplier = "Leverancier & Zn"
manufacturer = "Fabriek"

[permit]
regime = "notification"
id = "M-17"

[dpia]
status = "afgerond"
date = 2025-12-01
review_due = 2027-12-01
officer_advice = "Akkoord, met evaluatie na een jaar."

[location]
point = {{ longitude = {POINTS[0]}, latitude = {POINTS[1]} }}
description = "Havenstraat, fietspad"
regions = ["Centrum"]

[privacy]
window_s = 900
epsilon_leaf = "7/10"
epsilon_day = "3/10"
m_assumed = 4
k = 10
unprotected_quantities = ["pm2_5", "temperature"]

[dtpr]
accountable = "Gemeente Voorbeeld"
purpose = "Weten hoe druk het is en hoe schoon de lucht is."
technology = "Lichtstralen over het pad; een fijnstofsensor."
data_type = "Aantallen met ruis, gemiddelden."
processing = "Tellen, ruis erbij, vergeten."
access = "Iedereen."
storage = "Bij de gemeente."
retention = "Wat gepubliceerd is blijft."

[rathenau.privacy]
risk = "Herkenning van voorbijgangers | wie het ook zij"
measure = "Ruis op het apparaat"
owner = "de projectleider"

[[purposes]]
goal = "Veiliger oversteken"
dtpr_purpose = "mobility"
legal_ground = "Publieke taak"
privacy_declaration_url = "https://www.voorbeeld.example/privacy"

[[purposes]]
goal = "Schonere lucht"
dtpr_purpose = "health"
legal_ground = "Publieke taak"
privacy_declaration_url = "https://www.voorbeeld.example/privacy"

[[devices]]
name = "paal-1"
device_id = "{CANARIES["devices[1].device_id"]}"
type = "fietsteller"
model = "Peilmerk teller"
firmware_digest = "{"0" * 64}"
bgt_object_id = "{CANARIES["devices[1].bgt_object_id"]}"

[[devices]]
name = "paal-2"
device_id = "{CANARIES["devices[2].device_id"]}"
type = "luchtsensor"
model = "Peilmerk lucht"
firmware_digest = "{"0" * 64}"
point = {{ longitude = {POINTS[2]}, latitude = {POINTS[3]} }}

[[datastreams]]
measures = "bicycle_towards"
observed_property = "bicycle_towards"
themes = ["mobiliteit"]
is_public = true
is_open_data = true
devices = ["paal-1"]

[[datastreams]]
measures = "pm2_5"
observed_property = "pm2_5"
quality = "indicatief"
themes = ["lucht"]
is_public = true
devices = ["paal-2"]

[[datastreams]]
measures = "temperature"
observed_property = "temperature"
themes = ["lucht"]
is_public = false
devices = ["paal-2"]
"""

# The counter listens to radios instead, for a while and in one place.
RADIO = (
    ('type = "fietsteller"', 'type = "fietsteller"\nradio_capture = true'),
    ("[location]", '[location]\nobserved_area = "De kade tussen beide bruggen."'),
    (
        'measures = "bicycle_towards"\nobserved_property = "bicycle_towards"',
        'measures = "unclassified"\nobserved_property = "unclassified"',
    ),
    ('themes = ["mobiliteit"]', 'themes = ["Mobiliteit: voetganger"]'),
)


def deployment(*changes: tuple[str, str], text: str = DOSSIER) -> Deployment:
    """Read the record with pieces of its text replaced."""
    for old, new in changes:
        assert old in text, old
        text = text.replace(old, new, 1)
    return parse(text.encode(), FILE)


def written(kind: str, form: str, *changes: tuple[str, str], language: str = "nl") -> bytes:
    """Export the record, changed, with everything given that an export may ask for."""
    return export(deployment(*changes), kind, form, Wish(language, "paal-1", PAGE))
