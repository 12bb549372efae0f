"""Open: what is no message of one of our devices is refused, whatever it is; named only when authentic."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sealed_street import DAY, NOW, WINDOW, Counter

from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.open import Keyring, Opened, open_delivery
from peilmerk_gateway.refusal import Reason, Refusal
from peilmerk_gateway.registry import Registry
from peilmerk_protocol import cbor, cose, keys, topics
from peilmerk_protocol.report import Report


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    with Registry(tmp_path_factory.mktemp("open") / "registry.db") as opened:
        yield opened


@pytest.fixture(scope="module")
def board(registry: Registry) -> Counter:
    return Counter(registry.enrol("counter", "one"))


@pytest.fixture
def keyring(registry: Registry) -> Keyring:
    made = Keyring(registry)
    made.refresh()
    return made


def refusal(delivery: Delivery, keyring: Keyring) -> tuple[Reason, str | None]:
    judged = open_delivery(delivery, keyring, NOW)
    assert isinstance(judged, Refusal)
    assert judged.size == len(delivery.payload)
    assert judged.at == NOW
    return judged.reason, judged.device_id


def test_a_sealed_report_is_read(board: Counter, keyring: Keyring) -> None:
    judged = open_delivery(board.report(7), keyring, NOW)
    assert isinstance(judged, Opened)
    assert judged.device_id == board.id
    assert isinstance(judged.message, Report)
    assert (judged.message.seq, judged.message.window) == (7, WINDOW)


def test_a_bit_less_is_forged(board: Counter, keyring: Keyring) -> None:
    good = board.report(7).payload
    for place in (len(good) - 1, len(good) - 12):
        bad = bytearray(good)
        bad[place] ^= 1
        assert refusal(Delivery(board.id, topics.REPORT, bytes(bad)), keyring) == (Reason.FORGED, None)


def test_a_seal_holds_for_one_device_and_one_kind(
    registry: Registry, board: Counter, keyring: Keyring
) -> None:
    other = registry.enrol("counter", "two").device_id
    keyring.refresh()
    sealed = board.report(7).payload
    assert refusal(Delivery(other, topics.REPORT, sealed), keyring) == (Reason.FORGED, None)
    assert refusal(Delivery(board.id, topics.STATEMENT, sealed), keyring) == (Reason.FORGED, None)
    down = cose.seal(keys.derive(board.device.root_key, keys.DOWN), topics.REPORT, board.id, b"\x80")
    assert refusal(Delivery(board.id, topics.REPORT, down), keyring) == (Reason.FORGED, None)


def test_strangers_and_revoked_devices_are_told_apart(registry: Registry, board: Counter) -> None:
    keyring = Keyring(registry)
    keyring.refresh()
    assert refusal(Delivery("a" * 16, topics.REPORT, b"x"), keyring) == (Reason.UNKNOWN_DEVICE, None)
    leaving = Counter(registry.enrol("counter", "leaving"))
    keyring.refresh()
    assert isinstance(open_delivery(leaving.report(1), keyring, NOW), Opened)
    registry.revoke(leaving.id)
    keyring.refresh()
    assert refusal(leaving.report(2), keyring) == (Reason.REVOKED_DEVICE, None)


def test_a_device_enrolled_while_running_is_known_at_the_next_batch(registry: Registry) -> None:
    keyring = Keyring(registry)
    keyring.refresh()
    late = Counter(registry.enrol("counter", "late"))
    keyring.refresh()
    assert isinstance(open_delivery(late.report(1), keyring, NOW), Opened)


def test_size_is_looked_at_first(board: Counter, keyring: Keyring) -> None:
    most = bytes(cose.MAX_SEALED)
    assert refusal(Delivery(board.id, topics.REPORT, most), keyring) == (Reason.MALFORMED, None)
    assert refusal(Delivery("a" * 16, topics.REPORT, most + b"\0"), keyring) == (Reason.TOO_LARGE, None)


def test_content_that_is_authentic_but_wrong_names_the_device(board: Counter, keyring: Keyring) -> None:
    for body, reason in (
        (b"\xff", Reason.MALFORMED),
        (cbor.encode([1, WINDOW, 1, 1 << 2, 9_000, 0]), Reason.QUANTITY_RANGE),
        (cbor.encode([0, WINDOW, 1, 0]), Reason.MALFORMED),
        (cbor.encode([1, WINDOW, 1, 1 << 30]), Reason.MALFORMED),
        (cbor.encode([1, WINDOW, 1, 0, "name"]), Reason.MALFORMED),
    ):
        assert refusal(board.sealed(topics.REPORT, body), keyring) == (reason, board.id)
        assert refusal(board.sealed(topics.DAY, body), keyring) == (reason, board.id)
    for body in (
        cbor.encode([1, DAY, 1, 1, 5, 5]),
        cbor.encode([1, 49_711, 1, 1 << 5, 400]),
    ):
        assert isinstance(open_delivery(board.sealed(topics.REPORT, body), keyring, NOW), Opened)
        assert refusal(board.sealed(topics.DAY, body), keyring) == (Reason.MALFORMED, board.id)


def test_a_days_total_is_no_report_and_a_report_no_days_total(board: Counter, keyring: Keyring) -> None:
    total = open_delivery(board.day(7), keyring, NOW)
    assert isinstance(total, Opened)
    assert total.kind == topics.DAY
    for kind, other in ((topics.REPORT, board.day(7)), (topics.DAY, board.report(7))):
        assert refusal(Delivery(board.id, kind, other.payload), keyring) == (Reason.FORGED, None)


def test_a_topic_that_is_not_ours_is_malformed(keyring: Keyring) -> None:
    assert refusal(Delivery(None, 0, b"x"), keyring) == (Reason.MALFORMED, None)
    assert refusal(Delivery("a" * 16, topics.COMMAND, b"x"), keyring) == (Reason.MALFORMED, None)


@given(payload=st.binary(max_size=600), kind=st.integers(0, 6), known=st.booleans(), seal=st.booleans())
def test_no_bytes_on_any_topic_raise(
    registry: Registry, board: Counter, payload: bytes, kind: int, known: bool, seal: bool
) -> None:
    keyring = Keyring(registry)
    keyring.refresh()
    if seal and kind in (1, 2, 3, 5) and len(payload) <= cose.MAX_BODY:
        delivery = board.sealed(kind, payload)
    else:
        delivery = Delivery(board.id if known else "b" * 16, kind, payload)
    judged = open_delivery(delivery, keyring, NOW)
    if isinstance(judged, Refusal) and delivery.payload is payload:
        assert judged.device_id is None


def test_secrets_and_figures_stay_out_of_reprs(board: Counter, keyring: Keyring, tmp_path: Path) -> None:
    delivery = board.report(7, values={5: (31337,)})
    judged = open_delivery(delivery, keyring, NOW)
    assert "31337" not in repr(judged)
    assert repr(delivery.payload)[2:-1] not in repr(delivery)
