"""The owners' store: sealed, for its owner only, one key in use, and what is deleted is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from peilmerk_gateway.hosts import host as hosts
from peilmerk_gateway.hosts import keys
from peilmerk_gateway.hosts.host import Host, HostError
from peilmerk_gateway.hosts.vault import Vault, VaultError
from peilmerk_gateway.registry import Registry

TOLD = {
    "name": "Kanarie de Vries",
    "email": "kanarie@voorbeeld.example",
    "address": "Kanariestraat 12, Utrecht",
    "longitude": 5.1214,
    "latitude": 52.0907,
    "language": "nl",
    "consent": hosts.CONSENT_VERSION,
    "consented_at": "2026-05-01T08:00:00+02:00",
}
SECRETS = [b"Kanarie", b"kanarie@", b"Kanariestraat", b"5.1214", b"52.0907", b"d" * 16, b"rd100"]


def host(number: int = 0) -> Host:
    return Host(
        host_id="abcdefghi" + "234567"[number],
        device_id="d" * 15 + "234567"[number],
        told=hosts.told(TOLD),
        consent_digest=hosts.consent_digest("nl"),
        public_cell="rd100-E1367N4558",
        addresses=12,
        joined_at=float(number),
    )


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    return tmp_path / "owners.sqlite", tmp_path / "keys" / "owners.key"


def opened(files: tuple[Path, Path]) -> Vault:
    return Vault(*files, make=True)


def test_what_was_put_comes_back_and_nothing_of_it_can_be_read_in_the_file(files: tuple[Path, Path]) -> None:
    with opened(files) as vault:
        vault.put(host(0))
        vault.put(host(1))
    with Vault(*files) as vault:
        assert vault.all() == [host(0), host(1)]
        assert vault.find("d" * 15 + "3") == vault.find("abcdefghi3") == host(1)
        assert vault.find("Kanarie de Vries") is None
    for secret in SECRETS:
        assert secret not in files[0].read_bytes()
    assert [file.stat().st_mode & 0o777 for file in files] == [0o600, 0o600]
    assert "Kanarie" not in repr(host())


def test_the_same_host_is_never_sealed_alike(files: tuple[Path, Path]) -> None:
    with opened(files) as vault:
        sealed = set()
        for _ in range(20):
            vault.put(host())
            with closing(sqlite3.connect(files[0])) as db:
                sealed.add(db.execute("SELECT nonce, sealed FROM host").fetchone())
    assert len({nonce for nonce, _ in sealed}) == len({text for _, text in sealed}) == 20


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_file_that_others_may_read_is_not_used(files: tuple[Path, Path], which: int, mode: int) -> None:
    opened(files).__exit__()
    files[which].chmod(mode)
    with pytest.raises((VaultError, keys.KeyFileError), match=f"found mode {mode:04o}, wanted"):
        Vault(*files)


def test_one_without_the_other_is_not_used(files: tuple[Path, Path]) -> None:
    with pytest.raises(VaultError, match="found no store of owners"):
        Vault(*files)
    opened(files).__exit__()
    key = files[1].read_bytes()
    files[1].unlink()
    with pytest.raises(keys.KeyFileError, match="found no key"):
        opened(files)
    assert not files[1].exists()
    for wrong in (b"", key[:-9] + b"\n", b"00000000" + key[8:], key.replace(b" ", b""), b"\xff" * 60):
        files[1].write_bytes(wrong)
        files[1].chmod(0o600)
        with pytest.raises(keys.KeyFileError) as caught:
            Vault(*files)
        assert key[9:40].decode() not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE host SET sealed = (SELECT max(sealed) FROM host)",
        "UPDATE host SET (nonce, sealed) = (SELECT nonce, sealed FROM host LIMIT 1)",
        "UPDATE host SET sealed = substr(sealed, 1, 40)",
        "UPDATE host SET key_id = '00000000'",
        "UPDATE host SET nonce = x'00'",
        "UPDATE host SET host_id = 'zzzzzzzzzz' WHERE host_id = 'abcdefghi2'",
    ],
)
def test_a_row_that_was_changed_or_moved_is_found(files: tuple[Path, Path], change: str) -> None:
    with opened(files) as vault:
        vault.put(host(0))
        vault.put(host(1))
        with closing(sqlite3.connect(files[0])) as db, db:
            assert db.execute(change).rowcount
        with pytest.raises(VaultError, match="sealed by another key, or changed"):
            vault.all()


def test_a_rotation_leaves_one_key_and_the_old_one_opens_nothing(files: tuple[Path, Path]) -> None:
    with opened(files) as vault, Vault(*files) as beside:
        vault.put(host(0))
        (old,) = keys.read(files[1])
        before = files[0].read_bytes()
        assert vault.rotate() == 1
        (new,) = keys.read(files[1])
        # One that was opened before does not go on with the key of before.
        beside.put(host(1))
    assert new.id != old.id
    with Vault(*files) as vault:
        assert vault.all() == [host(0), host(1)]
    keys.write(files[1], [old])
    with pytest.raises(VaultError), Vault(*files) as vault:
        vault.all()
    with closing(sqlite3.connect(files[0])) as db:
        assert db.execute("SELECT DISTINCT key_id FROM host").fetchall() == [(new.id,)]
    assert before != files[0].read_bytes()


@pytest.mark.parametrize("written", [1, 2])
def test_a_rotation_that_is_cut_off_locks_nobody_out(
    files: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """Cut off after the new key was written, before and after the rows were sealed under it."""
    with opened(files) as vault:
        vault.put(host(0))
        write, calls = keys.write, 0

        def cut(*arguments: object, **options: object) -> None:
            nonlocal calls
            calls += 1
            if calls < written or written == 1:
                write(*arguments, **options)  # type: ignore[arg-type]
            if calls == written:
                raise KeyboardInterrupt

        monkeypatch.setattr(keys, "write", cut)
        with pytest.raises(KeyboardInterrupt):
            vault.rotate()
    monkeypatch.setattr(keys, "write", write)
    assert len(keys.read(files[1])) == 2
    with Vault(*files) as vault:
        assert vault.all() == [host(0)]
        vault.rotate()
        assert vault.all() == [host(0)]
    assert len(keys.read(files[1])) == 1


def test_what_is_removed_is_in_no_byte_of_the_file(files: tuple[Path, Path]) -> None:
    with opened(files) as vault:
        for number in range(3):
            vault.put(host(number))
        with closing(sqlite3.connect(files[0])) as db:
            (sealed,) = db.execute("SELECT sealed FROM host WHERE host_id = ?", (host(1).host_id,)).fetchone()
        assert sealed in files[0].read_bytes()
        vault.remove(host(1).host_id)
        assert vault.all() == [host(0), host(2)]
    assert sealed[:32] not in files[0].read_bytes()
    assert host(1).host_id.encode() not in files[0].read_bytes()
    assert sorted(file.name for file in files[0].parent.iterdir()) == ["keys", "owners.sqlite"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"email": "geheim"}, "email: found something else, wanted an e-mail address"),
        ({"latitude": "geheim"}, "latitude: found something else, wanted degrees"),
        ({"latitude": 91.5}, "latitude: found something else, wanted degrees"),
        ({"name": "geheim\nnog een regel"}, "name: found something else, wanted one line"),
        ({"phone": "geheim"}, "phone: no such key"),
        ({"language": "geheim"}, "language: found something else, wanted nl or en"),
        ({"consent": "0"}, "consent: found version '0', wanted '2'"),
        ({"consented_at": "2026-05-01T08:00:00"}, "consented_at: found no offset"),
    ],
)
def test_what_is_wrong_is_named_and_never_repeated(change: dict[str, object], said: str) -> None:
    with pytest.raises(HostError) as caught:
        hosts.told(TOLD | change)
    assert said in str(caught.value)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    missing = {key: value for key, value in TOLD.items() if key != "address"}
    with pytest.raises(HostError, match="address: not found, wanted an answer"):
        hosts.told(missing)


def test_another_text_is_another_version() -> None:
    """Who changes the text raises the version, so that hosts are asked anew; the earlier ones are kept."""
    assert set(DIGESTS) == {str(n + 1) for n in range(int(hosts.CONSENT_VERSION))}
    for version, digests in DIGESTS.items():
        found = [hosts.consent_digest(language, version)[:16] for language in ("nl", "en")]
        assert tuple(found) == digests, version


def test_a_host_is_shown_the_text_that_they_agreed_to() -> None:
    told = hosts.told(TOLD)
    one = hosts.Host(
        host_id="a" * 10,
        device_id="b" * 16,
        told=told,
        consent_digest=hosts.consent_digest(told.language),
        public_cell="rd1000-E1360N4550",
        joined_at=1.0,
    )
    assert hosts.agreed_to(one) == hosts.consent_text(told.language)
    earlier = told.model_copy(update={"consent": "1"})
    digest = hosts.consent_digest(told.language, "1")
    one = one.model_copy(update={"told": earlier, "consent_digest": digest})
    assert hosts.agreed_to(one) == hosts.consent_text(told.language, "1") != hosts.consent_text(told.language)
    for change in ({"consent_digest": "0" * 64}, {"told": told.model_copy(update={"consent": "0"})}):
        assert hosts.agreed_to(one.model_copy(update=change)) is None


DIGESTS = {
    "1": ("afb1a6470898c2ab", "4aa8ddd51cfc5546"),
    "2": ("43c1fa2e8b0975de", "14cbaea92209a698"),
}


def test_a_label_that_named_somebody_is_in_no_byte_of_the_registry_though_others_have_it_open(
    tmp_path: Path,
) -> None:
    file = tmp_path / "registry.db"
    with Registry(file) as registry, Registry(file) as beside:
        devices = [registry.enrol("air", f"{number} Kanariestraat 12 " + "x" * 50) for number in range(6)]
        for device in devices[::2]:
            registry.forget_label(device.device_id)
        assert [device.label for device in beside.all()][:2] == ["erased", devices[1].label]
        data = b"".join(found.read_bytes() for found in tmp_path.glob("registry.db*"))
    assert [str(n).encode() + b" Kanariestraat" in data for n in range(6)] == [False, True] * 3
