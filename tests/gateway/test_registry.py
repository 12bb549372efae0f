"""Registry: enrolment, revocation, what the file gives away, and two processes at once."""

from __future__ import annotations

import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import bcrypt
import pytest
from patience import DEADLINE_S

from peilmerk_gateway.registry import Registry, RegistryError
from peilmerk_protocol.topics import valid_device_id

ENROL_MANY = """
import sys
from pathlib import Path
from peilmerk_gateway.registry import Registry
registry = Registry(Path(sys.argv[1]))
for number in range(int(sys.argv[2])):
    print(registry.enrol("air", f"{sys.argv[3]} {number}").device_id)
"""


def test_a_device_is_enrolled_with_secrets_of_its_own(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry.db") as registry:
        one, two = registry.enrol("counter", "Oude Gracht 1"), registry.enrol("air", "Oude Gracht 2")
        assert valid_device_id(one.device_id)
        assert len(one.root_key) == 32
        assert one.mqtt_password is not None
        assert len(one.mqtt_password) == 43, "256 bits as base64 without padding"
        assert bcrypt.checkpw(one.mqtt_password.encode(), one.password_hash.encode())
        assert one.device_id != two.device_id
        assert one.root_key != two.root_key
        assert one.mqtt_password != two.mqtt_password
        assert [device.label for device in registry.all()] == ["Oude Gracht 1", "Oude Gracht 2"]


def test_what_was_enrolled_is_there_after_a_restart_but_not_the_password(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    with Registry(path) as registry:
        device = registry.enrol("counter", "lamp post 7")
    with Registry(path) as registry:
        found = registry.get(device.device_id)
        assert found is not None
        assert (found.kind, found.label, found.root_key) == ("counter", "lamp post 7", device.root_key)
        assert found.mqtt_password is None
        assert registry.get("a" * 16) is None
    assert device.mqtt_password is not None
    for file in tmp_path.iterdir():
        assert device.mqtt_password.encode() not in file.read_bytes(), file


def test_only_the_owner_reads_any_of_its_files(tmp_path: Path) -> None:
    path = tmp_path / "data" / "registry.db"
    with Registry(path) as registry:
        registry.enrol("counter", "x")
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in path.parent.iterdir()}
    assert modes == {"registry.db": 0o600, "registry.db-wal": 0o600, "registry.db-shm": 0o600}
    path.chmod(0o644)
    Registry(path).close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600, "a loosened mode is put right"


def test_secrets_are_not_in_what_is_printed(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry.db") as registry:
        device = registry.enrol("counter", "x")
    for text in (repr(device), str(device)):
        assert str(device.mqtt_password) not in text
        assert repr(device.root_key) not in text
        assert device.password_hash not in text


def test_the_revision_rises_with_every_change_and_with_nothing_else(tmp_path: Path) -> None:
    with Registry(tmp_path / "registry.db") as registry, Registry(tmp_path / "registry.db") as other:
        seen = [other.revision()]
        device = registry.enrol("counter", "x")
        seen.append(other.revision())
        registry.get(device.device_id)
        registry.all()
        assert other.revision() == seen[-1]
        revoked = registry.revoke(device.device_id)
        seen.append(other.revision())
        assert revoked.revoked
        again = registry.revoke(device.device_id)
        assert again.revoked_at == revoked.revoked_at
        assert other.revision() == seen[-1]
        assert seen == [0, 1, 2]
        found = other.get(device.device_id)
        assert found is not None
        assert found.revoked


def test_revoking_an_unknown_device_is_an_error(tmp_path: Path) -> None:
    with (
        Registry(tmp_path / "registry.db") as registry,
        pytest.raises(RegistryError, match="found no device 'aaaabbbbccccdddd'"),
    ):
        registry.revoke("aaaabbbbccccdddd")


@pytest.mark.parametrize(
    ("kind", "label", "told"),
    [
        ("Counter", "x", "found kind 'Counter'"),
        ("", "x", "found kind ''"),
        ("air", "", "found label ''"),
        ("air", "x" * 81, "wanted one line of 1 to 80"),
        ("air", "two\nlines", "wanted one line"),
    ],
)
def test_what_cannot_be_enrolled(tmp_path: Path, kind: str, label: str, told: str) -> None:
    with Registry(tmp_path / "registry.db") as registry:
        with pytest.raises(RegistryError, match=told):
            registry.enrol(kind, label)
        assert registry.revision() == 0


def test_several_processes_enrol_at_once_from_a_file_that_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    provisioners = [
        subprocess.Popen(
            [sys.executable, "-c", ENROL_MANY, str(path), "10", name],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={"PYTHONPATH": ":".join(sys.path)},
        )
        for name in ("anna", "bart", "cees")
    ]
    printed: set[str] = set()
    for provisioner in provisioners:
        out, err = provisioner.communicate(timeout=DEADLINE_S)
        assert provisioner.returncode == 0, err
        printed |= set(out.split())
    with Registry(path) as registry:
        assert {device.device_id for device in registry.all()} == printed
        assert len(printed) == 30
        assert registry.revision() == 30


def test_a_file_that_is_something_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    path.write_bytes(b"this is no database, and far longer than a header of one hundred bytes would be " * 4)
    before = path.read_bytes()
    with pytest.raises(RegistryError, match=r"registry\.db: found no registry"):
        Registry(path)
    assert path.read_bytes() == before


def test_a_registry_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "registry.db"
    Registry(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 4")
    db.close()
    with pytest.raises(RegistryError, match="found a registry of version 4, wanted at most 3"):
        Registry(path)


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RegistryError, match=r"cannot open the registry"):
        Registry(tmp_path / "file" / "registry.db")
