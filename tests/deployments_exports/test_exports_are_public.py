"""Nothing that an export holds tells the exact place, a board or a person; where a record's own text would,
nothing is written.
"""

from __future__ import annotations

import re
import zlib

import pytest
from dossier import CANARIES, DOSSIER, FILE, PIECES, POINTS, deployment, written

from peilmerk_gateway.deployments.deployment import parse
from peilmerk_gateway.deployments.exports.export import KINDS
from peilmerk_gateway.deployments.exports.needs import ExportError

EVERY = [(kind, form) for kind, chosen in KINDS.items() for form in chosen.forms]


def readable(data: bytes) -> str:
    """Return the text of an export; of a PDF what its streams hold unpacked."""
    if data.startswith(b"%PDF"):
        streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
        data = data + b"".join(zlib.decompress(stream) for stream in streams)
        return data.decode("latin-1")
    return data.decode()


@pytest.mark.parametrize("language", ["nl", "en"])
@pytest.mark.parametrize(("kind", "form"), EVERY)
def test_no_export_tells_a_place_a_board_or_a_person(kind: str, form: str, language: str) -> None:
    text = readable(written(kind, form, language=language))
    # That the search finds what is there.
    assert "Gemeente Voorbeeld" in text or kind == "amsterdam"
    assert "havenstraat" in text
    folded = re.sub(r"\s+", " ", text.casefold())
    for secret in (*CANARIES.values(), *PIECES):
        assert secret.casefold() not in folded, (kind, form, secret)
    for degrees in POINTS:
        # Neither the number nor it with fewer digits, down to the ten metres that a square hides.
        assert degrees[:-2] not in text, (kind, form)


@pytest.mark.parametrize(
    ("kind", "form"), [(kind, next(iter(chosen.forms))) for kind, chosen in KINDS.items()]
)
@pytest.mark.parametrize(
    ("field", "leak"),
    [
        ("owner.name", "Vraag naar kanarie  ZANGVOGEL, die helpt."),
        ("owner.email", "Mail Vogel_Post@Volière.example daarover."),
        ("owner.phone", "Bel 06 9876 5432 daarover."),
        ("owner.phone", "Bel 0698765432 daarover."),
        ("owner.phone", "Bel +31698765432 daarover."),
        ("owner.phone", "Bel 12, of +31 (0)6 98 76 54 32, of 34."),
        ("owner.address", "Aan de volièrelaan 77 (vogelwijk)."),
        ("owner.kvk", "KvK 87654321."),
        ("devices[1].device_id", "Bord kanariekanarie22."),
        ("devices[2].device_id", "Bord KANARIEKANARIE33."),
        ("devices[1].bgt_object_id", "Paal g0344.kanarie4711."),
        ("location.point", "Op 52.0907654 noord."),
        ("location.point", "Op 5,1214987 oost."),
        ("devices[2].point", "Op 5.13001230 oost."),
    ],
)
def test_a_text_of_the_record_that_tells_it_is_refused_and_not_repeated(
    kind: str, form: str, field: str, leak: str
) -> None:
    # What every export quotes, each from its own field.
    quoted = {
        "dtpr": 'purpose = "Weten hoe druk',
        "sign": 'purpose = "Weten hoe druk',
    }.get(kind, 'goal = "Veiliger oversteken')
    start = quoted.partition('"')[0]
    with pytest.raises(ExportError) as caught:
        written(kind, form, (quoted, f'{start}"{leak} {quoted.partition(chr(34))[2]}'))
    assert [complaint.key for complaint in caught.value.complaints] == [field]
    assert str(caught.value) == (
        f"{FILE}: {field}: found in a text of the export, wanted it in nothing that is public"
    )


def test_an_address_that_the_owner_made_public_may_be_said() -> None:
    shown = written(
        "sign",
        "svg",
        ('public_contact = "sensoren@voorbeeld.example"', f'public_contact = "{CANARIES["owner.email"]}"'),
    )
    assert CANARIES["owner.email"] in shown.decode()
    # A name has no such way out.
    for key, found in (
        ("controller", "College van Voorbeeld"),
        ("public_contact", "sensoren@voorbeeld.example"),
    ):
        with pytest.raises(ExportError, match=r"owner\.name: found in a text"):
            written("sign", "svg", (f'{key} = "{found}"', f'{key} = "{CANARIES["owner.name"]}"'))


def test_words_and_numbers_that_are_only_alike_are_no_leak() -> None:
    goal = 'goal = "Veiliger oversteken'
    for harmless in (
        "Kanarie en Zangvogel",
        "kanaries zangvogels",
        "5.12 en 52.09 procent",
        "876543210",
        "77",
    ):
        assert written("annex", "md", (goal, f'goal = "{harmless}'))


@pytest.mark.parametrize("kind", ["amsterdam", "sensrnet", "opendp"])
def test_what_hangs_indoors_is_in_no_public_register(kind: str) -> None:
    with pytest.raises(ExportError) as caught:
        written(kind, "json", ("[location]", "[location]\nindoor = true"))
    wanted = {"opendp": "datastreams: found no count that is public"}
    assert wanted.get(kind, "location.indoor: found true, wanted false") in str(caught.value)


def test_what_hangs_indoors_is_said_to_be_kept() -> None:
    inside = ("[location]", "[location]\nindoor = true")
    assert "Wat hij meet wordt niet gepubliceerd." in re.sub(
        r"</text>\n<text[^>]*>", " ", written("sign", "svg", inside).decode()
    )
    assert "gepubliceerd als open data" not in written("annex", "md", inside).decode()


def test_a_place_that_is_the_middle_of_its_square_is_no_secret() -> None:
    centre = deployment().cells["paal-1"].centre
    text = DOSSIER.replace(POINTS[0], str(centre[0])).replace(POINTS[1], str(centre[1]))
    assert parse(text.encode(), FILE).cells["paal-1"].centre == centre
    assert written("sensrnet", "json", (POINTS[0], str(centre[0])), (POINTS[1], str(centre[1])))
