"""Every decoder of the gateway under inputs that nobody thought of: its own error, or a value; never a crash.

Those of the contract are in tests/protocol/test_properties.py, sealed messages in test_open.py, requests for
firmware in test_updates.py. `make soak` tries 20,000 inputs each.
"""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from sealed_street import record

from peilmerk_gateway.deployments.deployment import Deployment, RecordError, parse
from peilmerk_gateway.deployments.dwellings import DwellingsError
from peilmerk_gateway.deployments.dwellings import read as read_dwellings
from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.hosts import keys
from peilmerk_gateway.hosts.host import told as read_host
from peilmerk_gateway.ingest import Delivery
from peilmerk_gateway.ingest.jetstream import delivery
from peilmerk_gateway.operation.backup import BackupError, read_list
from peilmerk_gateway.publish import Outcome, Unavailable
from peilmerk_gateway.publish.sensorthings_http import (
    Denied,
    Lost,
    _json,
    _judge,
    _retry_after,
    id_of,
    literal_of,
    values,
)
from peilmerk_gateway.publish.sensorthings_observations import outcome, times_and_id
from peilmerk_gateway.settings import Settings, SettingsError, load, write_default
from peilmerk_gateway.store import OutboxRow
from peilmerk_gateway.updates.folder import read as read_bundle
from peilmerk_gateway.web.language import choose
from peilmerk_protocol import topics

FILE = Path("record.toml")
anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=12), inner, max_size=3),
    max_leaves=8,
)
# One folder for a whole test: every input overwrites the one before.
in_a_folder = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


# Topics, as MQTT and as NATS write them.

near_topics = st.lists(
    st.sampled_from(
        ["peilmerk", "1", "a" * 16, "b" * 15, "report", "day", "command", "+", "#", "", "/", ".", "$MQTT"]
    )
    | st.text(max_size=20),
    max_size=6,
)


@given(near_topics.map("/".join) | st.text(max_size=80))
def test_a_topic_names_a_device_and_a_kind_or_nothing(text: str) -> None:
    for read in (Delivery.of_topic(text, b""), delivery("$MQTT.msgs." + text.replace("/", "."), b"")):
        if read.device_id is None:
            assert read.kind == 0
        else:
            assert topics.topic(read.device_id, read.kind).split("/")[2] == read.device_id
    read = Delivery.of_topic(text, b"")
    assert read.device_id is None or topics.topic(read.device_id, read.kind) == text


# Settings and records.


def mutated(text: str) -> st.SearchStrategy[str]:
    """A good file in which lines are gone, doubled, or say something else."""
    lines = text.splitlines()
    other = st.sampled_from(
        ["x", "[", "]", '"', "= 1", "[[sinks]]", "[broker]", "\x00", "é = 1", "name = 'a'"]
    )
    values = anything.map(lambda value: json.dumps(value, ensure_ascii=False))

    def change(drawn: tuple[int, str, str, str]) -> str:
        at, what, text, value = drawn
        line = lines[at]
        changed = {
            "gone": [],
            "twice": [line, line],
            "other": [text],
            "value": [f"{line.split('=')[0]}= {value}"],
        }[what]
        return "\n".join([*lines[:at], *changed, *lines[at + 1 :]])

    return st.tuples(
        st.integers(0, len(lines) - 1), st.sampled_from(["gone", "twice", "other", "value"]), other, values
    ).map(change)


@pytest.fixture(scope="module")
def good_settings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = write_default(tmp_path_factory.mktemp("settings"))
    file.write_text(
        file.read_text()
        + '\n[[sinks]]\nname = "city"\nkind = "sensorthings"\nurl = "https://c.example/v1.1"\n'
    )
    return file


def settings_or_error(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    try:
        assert isinstance(load(file), Settings)
    except SettingsError as error:
        said = str(error)
    else:
        return
    assert all(line.startswith(str(file)) for line in said.splitlines())


@in_a_folder
@given(st.data())
def test_settings_are_read_or_named(good_settings: Path, data: st.DataObject) -> None:
    text = data.draw(mutated(good_settings.read_text()))
    file = good_settings.with_name("changed.toml")
    settings_or_error(file, text.encode())
    settings_or_error(file, data.draw(st.binary(max_size=200)))


GOOD_RECORD = record("street", [("fietspad-1", "a" * 16)])


@given(mutated(GOOD_RECORD))
def test_records_are_read_or_complained_of(text: str) -> None:
    try:
        assert isinstance(parse(text.encode(), FILE), Deployment)
    except RecordError as error:
        complaints = [str(complaint) for complaint in error.complaints]
    else:
        return
    assert complaints
    assert all(complaints)


@in_a_folder
@given(
    st.dictionaries(
        st.sampled_from(
            ["name", "email", "address", "longitude", "latitude", "language", "consent", "consented_at", "x"]
        ),
        anything,
    )
)
def test_what_a_host_answers_is_read_or_refused_without_repeating_it(answers: dict[str, Any]) -> None:
    said = ""
    try:
        read_host(answers)
    except PeilmerkError as error:
        said = str(error)
    for value in answers.values():
        if isinstance(value, str) and len(value) > 8 and value.isalnum():
            assert value not in said


# What a platform answers.

ROW = OutboxRow(
    sink="city",
    observation_id=1,
    state="sending",
    attempts=1,
    next_attempt_at=0.0,
    error=None,
    remote_id=None,
    published_at=None,
    datastream="a/b/c",
    deployment="a",
    thing="b",
    quantity=5,
    window_start=0,
    window_s=900,
    result=1,
    spread=None,
    samples=None,
    noise_scale=None,
    minimum=None,
    maximum=None,
    completeness=None,
    stored_at=0.0,
)
links = st.text(max_size=20).map(lambda text: f"https://c.example/v1.1/Observations({text})")


@given(anything | links | st.text(max_size=40).map(lambda text: f"error{text}"))
@example("Observations(²)")
@example("Observations(--5)")
@example(f"Observations({'9' * 5_000})")
@example("Observations()")
def test_an_answer_about_a_row_is_a_verdict(answer: object) -> None:
    judged = outcome(ROW, answer)
    assert isinstance(judged, Outcome)
    if judged.remote_id is not None:
        json.dumps(id_of(judged.remote_id))


@given(
    anything
    | st.fixed_dictionaries(
        {
            "phenomenonTime": anything | st.datetimes().map(str) | st.just("0001-01-01T00:00:00+23:59"),
            "resultTime": anything | st.datetimes().map(str) | st.just("9999-12-31T23:59:59-23:59"),
            "@iot.id": anything,
        },
        optional={"@iot.selfLink": anything | links},
    )
)
def test_an_observation_over_there_is_understood_or_not_counted_as_missing(entity: object) -> None:
    try:
        (start, end), literal = times_and_id(entity)
    except Unavailable:
        return
    assert isinstance(start, int)
    assert isinstance(end, int)
    assert isinstance(literal, str)


@given(anything)
def test_a_collection_is_a_list_or_unavailable(answer: object) -> None:
    try:
        assert isinstance(values(answer), list)
    except Unavailable:
        pass


@given(
    status=st.integers(200, 599),
    content=st.binary(max_size=80) | anything.map(lambda value: json.dumps(value).encode()),
    retry=st.text(st.characters(max_codepoint=255, exclude_categories=["Cc"]), max_size=30)
    | st.integers().map(str),
)
@example(status=429, content=b"", retry="²")
@example(status=429, content=b"", retry="9" * 5_000)
@example(status=429, content=b"", retry="Mon, 01 Jan 99999 00:00:00 GMT")
def test_any_http_answer_is_understood_or_unavailable(status: int, content: bytes, retry: str) -> None:
    answer = httpx.Response(status, content=content, headers={"Retry-After": retry.encode("latin-1")})
    assert 0 <= _retry_after(answer) <= 3_600
    try:
        _judge(answer)
        _json(answer)
    except (Unavailable, Denied, Lost):
        pass


@given(st.text(max_size=60))
def test_an_id_in_a_link_is_none_or_can_be_sent_back(link: str) -> None:
    literal = literal_of(link)
    if literal is not None:
        json.dumps(id_of(literal))


# Files of a gateway.


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("files")


@in_a_folder
@given(st.binary(max_size=80) | st.text(max_size=80).map(str.encode))
def test_a_key_file_is_read_or_refused_without_repeating_it(folder: Path, content: bytes) -> None:
    file = folder / "owners.key"
    file.write_bytes(content)
    file.chmod(0o600)
    try:
        assert keys.read(file)
    except keys.KeyFileError as error:
        said = str(error)
    else:
        return
    text = content.decode("latin-1")
    assert len(text) < 12 or text not in said


@in_a_folder
@given(
    anything
    | st.fixed_dictionaries(
        {
            "format": st.just(1) | anything,
            "peilmerk": anything,
            "made_at": anything,
            "head": anything,
            "files": st.lists(
                st.fixed_dictionaries(
                    {"path": st.text(max_size=30), "sha256": anything, "size": st.integers()}
                ),
                max_size=3,
            ),
        }
    )
)
@example(
    {
        "format": 1,
        "peilmerk": "",
        "made_at": 1e400,
        "head": [1, ""],
        "files": [{"path": "a\x00b", "sha256": "", "size": 1}],
    }
)
def test_a_list_of_a_backup_is_read_or_refused(folder: Path, told: object) -> None:
    (folder / "backup.json").write_text(json.dumps(told))
    with pytest.raises(BackupError):
        read_list(folder)


@in_a_folder
@given(st.binary(max_size=300))
def test_no_bytes_are_a_bundle_or_a_list_of_addresses(folder: Path, content: bytes) -> None:
    file = folder / "any"
    file.write_bytes(content)
    with pytest.raises(PeilmerkError):
        read_bundle(file)
    try:
        read_dwellings(file)
    except DwellingsError:
        pass


# What a browser says.


@given(
    st.none() | st.text(max_size=40),
    st.none()
    | st.text(max_size=60)
    | st.lists(st.sampled_from(["nl", "en", "q", "=", ";", ",", "0.5", "-", "*"])).map("".join),
)
@example(None, "nl;q=" + "9" * 5_000)
def test_any_wish_for_a_language_gets_one(query: str | None, accept: str | None) -> None:
    assert choose(query, accept) in ("nl", "en")


@given(st.text(max_size=60))
def test_toml_that_is_none_is_told_without_its_content(text: str) -> None:
    """A deployment record that is no TOML may hold a person's name anywhere."""
    canary = "canary-of-a-person"
    content = f'email = "{canary}"\n{text}\nx = '
    with pytest.raises(tomllib.TOMLDecodeError):
        tomllib.loads(content)
    with pytest.raises(RecordError) as error:
        parse(content.encode(), FILE)
    assert canary not in str(error.value)
