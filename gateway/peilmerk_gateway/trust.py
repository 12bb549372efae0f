"""What boards trust the broker by: an authority's certificate, and a server certificate that it signed.

A village has neither, so the gateway makes both (elliptic-curve P-256, which a small board verifies in
well under a second) in `data_dir/trust`: `authority.pem` and `.key`, `server.pem` and `.key`, keys
readable by the owner only. A city that has its own names three files in the settings instead; those are
checked, never changed. Either way `authority.der` in that folder is what goes onto a board as its trust
anchor. An authority's file may hold its successor behind it, so that boards know it long before the change.

`ensure_trust` proves what it returns with a real TLS handshake in memory for every name that boards may
use, as strict as a board is: chain, dates and name.
"""

from __future__ import annotations

import datetime
import ipaddress
import os
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.settings import Settings

# The authority outlives the boards that carry it; the server's certificate is made anew at a start of the
# gateway that finds less than RENEW_BEFORE left of it.
AUTHORITY_LIFE = datetime.timedelta(days=20 * 365)
SERVER_LIFE = datetime.timedelta(days=2 * 365)
RENEW_BEFORE = datetime.timedelta(days=180)
# A board whose clock is a little behind must not find a certificate that is not valid yet.
BACKDATE = datetime.timedelta(days=1)
# A board holds the authority and the one that will follow it.
MOST_AUTHORITIES = 2


class TrustError(PeilmerkError):
    """A certificate or key cannot be used; the text names the file, what was found and what was wanted."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Files that a TLS listener and its clients need, checked against each other."""

    certificate: Path
    """PEM, the server's certificate first, then any certificates between it and the authority."""
    key: Path
    authority: Path
    """PEM, one certificate."""
    authority_der: Path
    """The same certificate in DER, as a board's `/trust.der`."""
    expires: datetime.datetime
    """When the first of the two ends, UTC."""


def ensure_trust(settings: Settings, now: datetime.datetime | None = None) -> Trust:
    """Return certificates that hold for the configured names, making the gateway's own where none are
    configured.

    Raises TrustError naming the file that is wrong.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    broker = settings.broker
    folder = settings.trust_dir
    if broker.certificate is not None and broker.key is not None and broker.authority is not None:
        certificate, key, authority = broker.certificate, broker.key, broker.authority
    else:
        authority, _ = ensure_authority(folder, moment)
        certificate, key = ensure_server_certificate(folder, broker.server_names, moment)
    expires = check(certificate, key, authority, broker.server_names, moment)
    return Trust(certificate, key, authority, give_to_boards(settings, authority), expires)


def give_to_boards(settings: Settings, authority: Path) -> Path:
    """Write the file that boards get, `authority.der`, from an authority's PEM, and return it.

    Raises TrustError when there is no certificate in it, or more than a board has room for.
    """
    roots = _certificates(authority)
    if not 1 <= len(roots) <= MOST_AUTHORITIES:
        raise TrustError(
            f"{authority}: found {len(roots)} certificates, wanted one, the authority that boards are given, "
            "or two: it and its successor"
        )
    der = b"".join(root.public_bytes(serialization.Encoding.DER) for root in roots)
    if not settings.authority_der.exists() or settings.authority_der.read_bytes() != der:
        settings.trust_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        _write(settings.authority_der, der, 0o644)
    return settings.authority_der


def ensure_authority(folder: Path, now: datetime.datetime | None = None) -> tuple[Path, Path]:
    """Return the paths of `authority.pem` and `authority.key` in a folder, made when neither is there.

    An authority that boards already carry is never replaced: raises TrustError when its key is there without
    it. The key may be kept elsewhere; it is needed only when a certificate is to be signed.
    """
    certificate, key = folder / "authority.pem", folder / "authority.key"
    if certificate.exists():
        return certificate, key
    if key.exists():
        raise TrustError(f"{key}: found, but not {certificate.name}: put it back, since boards trust it")
    moment = now or datetime.datetime.now(datetime.UTC)
    secret = ec.generate_private_key(ec.SECP256R1())
    serial = x509.random_serial_number()
    # Part of the serial number in the name: two gateways' authorities are told apart by eye.
    name = _name(f"Peilmerk authority {serial & 0xFFFFFFFF:08x}")
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(secret.public_key())
        .serial_number(serial)
        .not_valid_before(moment - BACKDATE)
        .not_valid_after(moment + AUTHORITY_LIFE)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), critical=False)
        .sign(secret, hashes.SHA256())
    )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    _write(key, _pem(secret), 0o600)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def ensure_server_certificate(
    folder: Path,
    names: Sequence[str],
    now: datetime.datetime | None = None,
    *,
    into: Path | None = None,
    both_ends: bool = False,
) -> tuple[Path, Path]:
    """Return the paths of `server.pem` and `server.key` for these names and addresses, in the folder of the
    authority or elsewhere (`into`); `both_ends` for a server that is also a client of others.

    Made anew, with a new key, when there are none, when names were added or taken away, when the folder's
    authority did not sign them, or when they end within `RENEW_BEFORE`.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    place = into or folder
    certificate, key = place / "server.pem", place / "server.key"
    authority = _certificates(folder / "authority.pem")[0]
    alternative = x509.SubjectAlternativeName([_general_name(name) for name in names])
    if certificate.exists() and key.exists():
        present = _certificates(certificate)[0]
        if (
            _alternative_names(present) == set(alternative)
            and present.not_valid_after_utc - moment >= RENEW_BEFORE
            and present.public_key() == _private_key(key).public_key()
            and _signed_by(present, authority)
        ):
            return certificate, key
    signer = _private_key(folder / "authority.key")
    if not isinstance(signer, ec.EllipticCurvePrivateKey) or signer.public_key() != authority.public_key():
        raise TrustError(f"{folder / 'authority.key'}: is not the key of authority.pem beside it")
    secret = ec.generate_private_key(ec.SECP256R1())
    uses = [ExtendedKeyUsageOID.SERVER_AUTH, *([ExtendedKeyUsageOID.CLIENT_AUTH] if both_ends else [])]
    signed = (
        x509.CertificateBuilder()
        .subject_name(_name("Peilmerk broker"))
        .issuer_name(authority.subject)
        .public_key(secret.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(moment - BACKDATE)
        .not_valid_after(min(moment + SERVER_LIFE, authority.not_valid_after_utc))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(alternative, critical=False)
        .add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False
        )
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(secret.public_key()), critical=False)
        .sign(signer, hashes.SHA256())
    )
    _write(key, _pem(secret), 0o600)
    _write(certificate, signed.public_bytes(serialization.Encoding.PEM), 0o644)
    return certificate, key


def check(
    certificate: Path, key: Path, authority: Path, names: Sequence[str], now: datetime.datetime | None = None
) -> datetime.datetime:
    """Check that the key is the certificate's, the certificate the authority's, and every name in it.

    Returns when the first of them ends; the authority may have its successor behind it, which does not count
    as long as the certificate is not its. Raises TrustError naming file, what was found and what was wanted.
    """
    moment = now or datetime.datetime.now(datetime.UTC)
    leaf = _certificates(certificate)[0]
    roots = _certificates(authority)
    if not 1 <= len(roots) <= MOST_AUTHORITIES:
        raise TrustError(
            f"{authority}: found {len(roots)} certificates, wanted one, the authority that boards are given, "
            "or two: it and its successor"
        )
    roots = [root for root in roots if _signed_by(leaf, root)] or roots
    if leaf.public_key() != _private_key(key).public_key():
        raise TrustError(f"{key}: is not the key of {certificate}")
    for path, held in ((certificate, leaf), (authority, roots[0])):
        if held.not_valid_after_utc <= moment:
            raise TrustError(f"{path}: found a certificate that ended on {held.not_valid_after_utc:%Y-%m-%d}")
        if held.not_valid_before_utc > moment:
            raise TrustError(
                f"{path}: found a certificate that begins on {held.not_valid_before_utc:%Y-%m-%d}, "
                "after today"
            )
    present = _alternative_names(leaf)
    for name in names:
        if not _covers(present, name):
            held_names = ", ".join(sorted(str(known.value) for known in present)) or "no name at all"
            raise TrustError(
                f"{certificate}: found a certificate for {held_names}, wanted {name!r} "
                "of broker.server_names too"
            )
    for name in names:
        _handshake(certificate, key, authority, name)
    return min(leaf.not_valid_after_utc, roots[0].not_valid_after_utc)


def _handshake(certificate: Path, key: Path, authority: Path, name: str) -> None:
    """Shake hands in memory, as a board of this authority that connects to this name would."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    try:
        server_context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server_context.load_cert_chain(certificate, key, password=_refuse_password)
        client_context = ssl.create_default_context(cafile=str(authority))
        server = server_context.wrap_bio(to_server, to_client, server_side=True)
        client = client_context.wrap_bio(to_client, to_server, server_hostname=name)
        for _ in range(10):
            waiting = 0
            for side in (client, server):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    waiting += 1
            if not waiting:
                return
    except ssl.SSLCertVerificationError as reason:
        raise TrustError(
            f"{certificate}: a board that trusts {authority} refuses it: {reason.verify_message}"
        ) from reason
    except (ssl.SSLError, OSError) as reason:
        raise TrustError(f"{certificate}: cannot be served with {key}: {reason}") from reason
    raise TrustError(f"{certificate}: the TLS handshake for {name!r} came to no end")


def _refuse_password() -> str:
    raise TrustError("found a key with a password, wanted one without: nobody is there to type it")


def _certificates(path: Path) -> list[x509.Certificate]:
    try:
        return x509.load_pem_x509_certificates(path.read_bytes())
    except OSError as reason:
        raise TrustError(f"{path}: cannot be read: {reason.strerror}") from reason
    except ValueError as reason:
        raise TrustError(f"{path}: found no certificate in it, wanted PEM") from reason


def _private_key(path: Path) -> PrivateKeyTypes:
    try:
        return serialization.load_pem_private_key(path.read_bytes(), password=None)
    except OSError as reason:
        raise TrustError(f"{path}: cannot be read: {reason.strerror}") from reason
    except TypeError as reason:
        raise TrustError(f"{path}: found a key with a password, wanted one without") from reason
    except ValueError as reason:
        raise TrustError(f"{path}: found no private key in it, wanted PEM") from reason


def _signed_by(certificate: x509.Certificate, authority: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(authority)
    except Exception:  # each kind of key raises its own when the signature is another's
        return False
    return True


def _alternative_names(certificate: x509.Certificate) -> set[x509.GeneralName]:
    try:
        return set(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
    except x509.ExtensionNotFound:
        return set()


def _covers(present: set[x509.GeneralName], name: str) -> bool:
    wanted = _general_name(name)
    if wanted in present:
        return True
    if isinstance(wanted, x509.IPAddress):
        return False
    _, dot, domain = name.partition(".")
    wild = {str(known.value).lower() for known in present if isinstance(known, x509.DNSName)}
    return name.lower() in wild or (bool(dot) and f"*.{domain.lower()}" in wild)


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _pem(secret: ec.EllipticCurvePrivateKey) -> bytes:
    return secret.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, mode: int) -> None:
    """Put a whole file in place at once: a crash leaves the old one or the new one."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
