"""Release keys and signed releases: what the commands make, and what they refuse."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from typer.testing import CliRunner

from peilmerk_protocol import manifest as manifests
from peilmerk_provisioning import bundle as bundles
from peilmerk_provisioning import release as releases
from peilmerk_provisioning.cli import app
from peilmerk_provisioning.errors import BundleError, ReleaseError

TEST_KEY = Path(__file__).parents[1] / "protocol" / "release_key_of_tests.pem"
SECRET = "a phrase nobody guesses"


def run(*words: str, fails: int = 0, stdin: str | None = None) -> Any:
    done = CliRunner().invoke(app, list(words), input=stdin)
    assert done.exit_code == fails, (done.stdout, done.stderr, done.exception)
    return done


def figures(*words: str) -> dict[str, Any]:
    return dict(json.loads(run(*words, "--json").stdout)["figures"])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A release of a counter's firmware as the command signs it."""
    folder = tmp_path_factory.mktemp("releases")
    words = ("--version", "0.2.0", "--key", str(TEST_KEY), "--out", str(folder), "--chip", "esp32c3")
    return figures("release", "--kind", "counter", *words)


@pytest.mark.parametrize("locked", [False, True])
def test_a_new_key_is_its_owners_alone_and_never_shown(tmp_path: Path, locked: bool) -> None:
    file, phrase = tmp_path / "release.pem", tmp_path / "phrase"
    phrase.write_text(SECRET + "\n")
    options = ("--passphrase-file", str(phrase)) if locked else ()
    done = run("release-key", "new", str(file), *options)
    assert file.stat().st_mode & 0o777 == 0o600
    assert (b"ENCRYPTED" in file.read_bytes()) is locked
    assert "PRIVATE" not in done.stdout + done.stderr
    assert SECRET not in done.stdout + done.stderr
    key = releases.load_key(file, SECRET.encode() if locked else None)
    assert key.key_size == 3072
    public = file.with_suffix(".der").read_bytes()
    assert releases.public_keys([file.with_suffix(".der")]) == public == releases.public_frame(key)
    assert manifests.key_id(manifests.moduli(public)[0]).hex() in done.stdout
    again = run("release-key", "new", str(file), fails=2)
    assert "a release key is never overwritten" in again.stderr
    if locked:
        with pytest.raises(ReleaseError, match="found no private key that opens with this passphrase"):
            releases.load_key(file, b"another")


def test_a_locked_key_signs_with_its_passphrase_from_the_prompt(tmp_path: Path) -> None:
    file, phrase = tmp_path / "release.pem", tmp_path / "phrase"
    phrase.write_text(SECRET)
    run("release-key", "new", str(file), "--passphrase-file", str(phrase))
    words = ("release", "--kind", "counter", "--key", str(file), "--out", str(tmp_path / "out"))
    done = run(*words, stdin=SECRET + "\n")
    assert SECRET not in done.stdout
    assert len(list((tmp_path / "out").iterdir())) == 1
    assert "found no private key that opens" in run(*words, stdin="wrong\n", fails=2).stderr


def test_a_release_is_one_file_named_by_its_manifest(made: dict[str, Any]) -> None:
    file = Path(made["file"])
    data = file.read_bytes()
    size = manifests.length(data[: manifests.PREFIX])
    assert hashlib.sha256(data[:size]).hexdigest() == file.name == made["manifest"]
    assert len(data) == made["size"]
    built = bundles.build(kind="counter", version=(0, 2, 0))
    assert made["firmware_digest"] == built.digest
    inner = [path for path in built.files if "/" in path]
    assert data[size:] == b"".join(built.files[path] for path in inner)
    assert made["files"] == len(inner)
    assert (made["version"], made["kind"], made["chips"]) == ("0.2.0", "counter", ["esp32c3"])


def test_a_release_is_shown_and_checked(made: dict[str, Any], tmp_path: Path) -> None:
    key = releases.load_key(TEST_KEY)
    right, wrong = tmp_path / "right.der", tmp_path / "wrong.der"
    right.write_bytes(releases.public_frame(key))
    other = releases.load_key(TEST_KEY.with_name("next_key_of_tests.pem"))
    wrong.write_bytes(releases.public_frame(other))
    shown = figures("release", "show", made["file"], "--trust", str(right))
    assert shown == {name: made[name] for name in shown if name in made} | {"signature_checked": True}
    refused = run("release", "show", made["file"], "--trust", str(wrong), fails=2)
    assert "signed by a key that is not among these" in refused.stderr
    assert "the signature was not checked" in run("release", "show", made["file"]).stdout
    data = bytearray(Path(made["file"]).read_bytes())
    for at, words in (
        (-1, "found another content than was signed"),
        (400, "found a signature that is not right"),
    ):
        altered = tmp_path / "altered"
        data[at] ^= 1
        altered.write_bytes(data)
        data[at] ^= 1
        told = run("release", "show", str(altered), "--trust", str(right), fails=2)
        assert words in told.stderr or at == 400
    short = tmp_path / "short"
    short.write_bytes(data[:-1])
    assert "bytes of files, wanted" in run("release", "show", str(short), fails=2).stderr
    short.write_bytes(b"something else")
    assert "no release" in run("release", "show", str(short), fails=2).stderr


def test_any_bit_of_the_manifest_matters(made: dict[str, Any], tmp_path: Path) -> None:
    key = releases.public_frame(releases.load_key(TEST_KEY))
    data = Path(made["file"]).read_bytes()
    for at in range(0, manifests.length(data[: manifests.PREFIX]), 97):
        altered = tmp_path / "altered"
        altered.write_bytes(data[:at] + bytes([data[at] ^ 4]) + data[at + 1 :])
        with pytest.raises(ReleaseError):
            releases.read(altered, key)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "found --kind nothing, wanted one of counter, air"),
        (("--kind", "lamp"), "found --kind lamp, wanted one of counter, air"),
        (("--kind", "air"), "found no --key, wanted the private release key"),
        (("--kind", "air", "--key", "nowhere.pem"), "nowhere.pem: No such file or directory"),
        (("--kind", "air", "--key", str(TEST_KEY), "--version", "1.2"), "found version '1.2', wanted three"),
        (("--kind", "air", "--key", str(TEST_KEY), "--version", "1.2.65536"), "wanted three numbers"),
        (
            ("--kind", "air", "--key", str(TEST_KEY), "--driver", "sonar"),
            "found driver 'sonar', wanted one of",
        ),
        (("--kind", "air", "--key", str(TEST_KEY), "--chip", "ESP 32"), "does not fit the contract: chip"),
    ],
)
def test_what_cannot_be_released_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert message in run("release", *words, fails=2).stderr
    assert list(tmp_path.iterdir()) == []


def test_other_keys_are_refused(tmp_path: Path) -> None:
    weak = tmp_path / "weak.pem"
    key = generate_private_key(65537, 2048)
    weak.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    with pytest.raises(ReleaseError, match="found another key, wanted RSA of 3072 bits"):
        releases.load_key(weak)
    with pytest.raises(ReleaseError, match="found a private key, wanted the public half"):
        releases.public_keys([TEST_KEY])
    public = tmp_path / "public.der"
    public.write_bytes(b"something else")
    with pytest.raises(ReleaseError, match="found no public key"):
        releases.public_keys([public])
    with pytest.raises(ReleaseError, match="found 3 release keys, wanted at most 2"):
        releases.public_keys([public] * 3)


def test_a_bundle_carries_the_drivers_of_its_kind_alone() -> None:
    def drivers(made: bundles.Bundle) -> set[str]:
        assert made.program is not None
        folder = "node.sensing."
        return {name.removeprefix(folder) for name in made.program.part if name.startswith(folder)}

    counter, air = (bundles.build(kind=kind) for kind in ("counter", "air"))
    assert drivers(counter) == {"beam_pair", "passages"}
    assert drivers(air) == {"sds011", "sht3x", "frames", "i2c", "sampler", "sensirion"}
    more = bundles.build(kind="counter", drivers=["sht3x"])
    assert drivers(more) == {"beam_pair", "passages", "sht3x", "i2c", "sampler", "sensirion"}
    # The kind's own are always loaded; another is a file of its own, which node.json names.
    assert [path for path in more.files if path.startswith("node/sensing/")] == ["node/sensing/sht3x.mpy"]
    assert len({counter.digest, air.digest, more.digest}) == 3
    with pytest.raises(BundleError, match="found driver 'sonar', wanted one of"):
        bundles.build(kind="counter", drivers=["sonar"])


def test_what_calls_itself_another_version_is_the_same_but_for_one_file() -> None:
    one, other = (
        bundles.build(kind="counter", version=(0, 2, 0)),
        bundles.build(kind="counter", version=(9, 9, 9)),
    )
    assert [path for path in one.files if one.files[path] != other.files[path]] == ["node/__init__.mpy"]
    assert (
        bundles.build(kind="counter", version=bundles.source_version()).digest
        == bundles.build(kind="counter").digest
    )
