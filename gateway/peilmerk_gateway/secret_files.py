"""Files with secrets in them: which a gateway has, and that only their owner may read them.

A file that others may read is refused at the start, with the mode that was found and the one that was wanted.
Nothing is put right silently: whoever could read it may have done so already.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.settings import Settings


class SecretFileError(PeilmerkError):
    """A file with a secret in it cannot be used; the text never has anything of the secret."""


def secret_files(settings: Settings) -> Iterator[tuple[Path, str]]:
    """Yield (file, what is in it) of every secret that these settings name or that a gateway makes."""
    data, broker, mqtt = settings.gateway.data_dir, settings.broker, settings.broker.mqtt
    yield data / "store.db", "the store"
    if settings.store is not None and settings.store.password_file is not None:
        yield settings.store.password_file, "the store's password"
    yield settings.gateway.registry, "the devices' keys"
    yield data / "broker" / "gateway.credential", "the gateway's password at its broker"
    yield settings.trust_dir / "authority.key", "the authority's key"
    yield settings.trust_dir / "server.key", "the broker's key"
    for file, what in (
        (broker.key, "the broker's key"),
        (mqtt.password_file if mqtt else None, "the gateway's password at the broker"),
        (broker.cluster.password_file if broker.cluster else None, "the gateway's password at the brokers"),
        (settings.web.key, "the page's key"),
        (settings.web.metrics_token_file, "the token for the metrics"),
    ):
        if file is not None:
            yield file, what
    for sink in settings.sinks:
        if sink.token_file is not None:
            yield sink.token_file, f"{sink.name}'s token"


def complaints(settings: Settings) -> list[str]:
    """Return what is wrong with these files, a sentence each; a file that is not there is left out."""
    found = []
    for file, what in secret_files(settings):
        try:
            check(file, what)
        except FileNotFoundError:
            pass
        except SecretFileError as reason:
            found.append(str(reason))
    return found


def check(file: Path, what: str) -> None:
    """Raise SecretFileError when others may read or write a file, and FileNotFoundError as it is."""
    try:
        status = file.stat()
    except FileNotFoundError:
        raise
    except OSError as reason:
        raise SecretFileError(f"{file}: cannot be looked at: {reason.strerror}") from None
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077 or not stat.S_ISREG(status.st_mode):
        raise SecretFileError(
            f"{file}: found mode {mode:04o}, wanted a file of mode 0600: others could read {what}"
        )


def first_line(file: Path, what: str) -> str:
    """Return the first line of a file that only its owner may read. Raises SecretFileError."""
    try:
        check(file, what)
        line = file.read_text("utf-8").partition("\n")[0].strip()
    except OSError as reason:
        raise SecretFileError(f"{file}: {reason.strerror}, wanted {what}") from None
    except UnicodeDecodeError:
        raise SecretFileError(f"{file}: found bytes that are not UTF-8, wanted {what}") from None
    if not line:
        raise SecretFileError(f"{file}: found an empty first line, wanted {what}")
    return line
