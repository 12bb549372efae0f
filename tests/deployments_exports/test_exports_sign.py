"""The sign: what it says in both languages, that all of it is on the sheet, and where its code leads."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
import zlib

import pytest
import segno
from dossier import PAGE, RADIO, deployment, written

from peilmerk_gateway.deployments.exports.export import export
from peilmerk_gateway.deployments.exports.needs import ExportError, Needs, Wish
from peilmerk_gateway.deployments.exports.sign import BAND, HEIGHT, MARGIN, WIDTH, Sign, make
from peilmerk_gateway.web.street import fragment_name

SVG = "{http://www.w3.org/2000/svg}"
LONG = "Tellen, ruis erbij, vergeten."


def sign(*changes: tuple[str, str], language: str = "nl", device: str = "paal-1") -> Sign:
    needs = Needs()
    made = make(deployment(*changes), Wish(language, device, PAGE), needs)
    assert needs.complaints == []
    return made


def words(made: Sign) -> str:
    return " ".join(text.text for text in made.texts)


@pytest.mark.parametrize(
    ("language", "wanted"),
    [
        (
            "nl",
            [
                "Hier telt een sensor",
                "Fietsers, heen",
                "Verantwoordelijk: College van Voorbeeld",
                "Doel",
                "Bewaartermijn",
                "het exacte aantal verlaat de sensor nooit",
                "In gebruik tot en met dinsdag 29 februari 2028.",
                "Vragen: sensoren@voorbeeld.example",
                "Weten hoe druk het is",
                "rd100-E1367N4558",
            ],
        ),
        (
            "en",
            [
                "A sensor counts here",
                "Bicycles, towards",
                "Responsible: College van Voorbeeld",
                "Purpose",
                "Retention",
                "the exact count never leaves the sensor",
                "In use until Tuesday 29 February 2028.",
            ],
        ),
    ],
)
def test_it_says_who_what_why_and_until_when(language: str, wanted: list[str]) -> None:
    said = words(sign(language=language))
    for piece in wanted:
        assert piece in said, piece


def test_a_sensor_of_air_counts_nobody() -> None:
    said = words(sign(device="paal-2"))
    assert "Hier meet een sensor" in said
    assert "Hij telt geen mensen" in said
    assert "ruis" not in said.partition("Techniek")[0]


def test_a_board_that_listens_to_radios_says_so() -> None:
    said = words(sign(*RADIO))
    assert "Hij vangt ook radiosignalen van apparaten op, zoals telefoons" in said
    # The other board of the record does not.
    assert "radiosignalen" not in words(sign(*RADIO, device="paal-2"))
    assert "radiosignalen" not in words(sign())


@pytest.mark.parametrize("length", [1, 8, 20, 40])
def test_everything_is_on_the_sheet_in_letters_that_can_be_read(length: int) -> None:
    text = " ".join([LONG] * length)
    made = sign((f'processing = "{LONG}"', f'processing = "{text}"'))
    assert text in re.sub(r"\s+", " ", words(made))
    for line in made.texts:
        assert MARGIN <= line.x < WIDTH - MARGIN
        assert 0 < line.y < HEIGHT - MARGIN / 4
        assert line.size >= 7
    # No line upon another in the same column.
    for x in {line.x for line in made.texts}:
        heights = [line.y for line in made.texts if line.x == x]
        assert heights == sorted(heights)
        assert len(set(heights)) == len(heights)


def test_what_does_not_fit_is_refused_by_its_field() -> None:
    with pytest.raises(
        ExportError, match=r"dtpr\.purpose: found 1973 characters, wanted fewer: the sign is full"
    ):
        written(
            "sign",
            "svg",
            *(
                (f'{key} = "{old}', f'{key} = "{" ".join(["Zestig"] * 275)} {old}')
                for key, old in (
                    ("processing", "Tellen"),
                    ("access", "Iedereen"),
                    ("storage", "Bij"),
                    ("technology", "Licht"),
                    ("retention", "Wat"),
                    ("data_type", "Aantallen"),
                    ("purpose", "Weten"),
                )
            ),
        )


def test_the_code_is_that_of_the_sensors_place_on_the_page() -> None:
    picture = ET.fromstring(written("sign", "svg"))
    path = picture.find(f"{SVG}path")
    assert path is not None
    boxes = [
        tuple(float(number) for number in box)
        for box in re.findall(r"M([\d.]+) ([\d.]+)h([\d.]+)v([\d.]+)h", path.get("d") or "")
    ]
    assert boxes[0] == (0, 0, WIDTH, BAND)
    link = f"{PAGE}?lang=nl#{fragment_name('havenstraat', 'paal-1')}-name"
    matrix = [list(row) for row in segno.make(link, error="q", micro=False).matrix]
    module = boxes[1][3]
    left, top = min(box[0] for box in boxes[1:]), min(box[1] for box in boxes[1:])
    dark = {
        (round((x - left) / module) + step, round((y - top) / module))
        for x, y, width, _ in boxes[1:]
        for step in range(round(width / module))
    }
    assert dark == {(x, y) for y, row in enumerate(matrix) for x, cell in enumerate(row) if cell}
    # Big enough for a telephone at arm's length, with quiet around it.
    assert module > 0.8
    assert module * (len(matrix) + 8) == pytest.approx(48, abs=0.1)
    assert left - (WIDTH - MARGIN - 48) == pytest.approx(4 * module, abs=0.01)


def test_texts_of_a_record_stay_text() -> None:
    hostile = ('accountable = "Gemeente Voorbeeld"', 'accountable = "<script>alert(1)</script> & Zn"')
    picture = ET.fromstring(written("sign", "svg", hostile))
    assert not list(picture.iter(f"{SVG}script"))
    assert "<script>alert(1)</script> & Zn" in [text.text for text in picture.iter(f"{SVG}text")]


def test_the_pdf_holds_the_same_lines_and_is_the_same_every_time() -> None:
    data = written("sign", "pdf", ('accountable = "Gemeente Voorbeeld"', 'accountable = "Café ‘De Zon’ – €"'))
    assert data == written(
        "sign", "pdf", ('accountable = "Gemeente Voorbeeld"', 'accountable = "Café ‘De Zon’ – €"')
    )
    assert data.startswith(b"%PDF-1.")
    # Nor does it say when it was made.
    assert b"(D:20000101000000Z" in data
    assert len(re.findall(rb"/Type /Page\b", data)) == 1
    packed = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", data, re.DOTALL)
    drawn = b"".join(zlib.decompress(stream) for stream in packed).decode("windows-1252")
    shown = [re.sub(r"\\(.)", r"\1", line) for line in re.findall(r"\(((?:\\.|[^()\\])*)\) Tj", drawn)]
    made = sign(('accountable = "Gemeente Voorbeeld"', 'accountable = "Café ‘De Zon’ – €"'))
    assert shown == [text.text for text in made.texts]
    assert "Café ‘De Zon’ – €" in shown


def test_letters_that_a_pdf_lacks_are_refused_and_shown_by_svg() -> None:
    letters = ('accountable = "Gemeente Voorbeeld"', 'accountable = "Łódź"')
    with pytest.raises(
        ExportError, match="--out: found 'Ł' in 'Łódź', wanted letters of western Europe for PDF"
    ):
        written("sign", "pdf", letters)
    assert "Łódź" in written("sign", "svg", letters).decode()


@pytest.mark.parametrize(
    ("wish", "wanted"),
    [
        (Wish("nl", None, PAGE), "--device: not given, wanted one of paal-1, paal-2"),
        (Wish("nl", "paal-3", PAGE), "--device: found 'paal-3', wanted one of paal-1, paal-2"),
        (Wish("nl", "paal-1", None), "--page: not given, wanted the address of the gateway's public page"),
    ],
)
def test_a_sign_is_of_one_sensor_and_leads_to_a_page(wish: Wish, wanted: str) -> None:
    with pytest.raises(ExportError) as caught:
        export(deployment(), "sign", "svg", wish)
    assert wanted in str(caught.value)
