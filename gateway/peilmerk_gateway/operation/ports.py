"""Whether the ports that a gateway's settings name can be had, told before it is started."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from peilmerk_gateway import child
from peilmerk_gateway.settings import Settings
from peilmerk_gateway.web.server import WebServerError, listen


def wanted(settings: Settings) -> Iterator[tuple[str, str, int]]:
    """Yield (setting, host, port) of everything that a gateway listens at; port 0 means any free one."""
    broker, web, update = settings.broker, settings.web, settings.update
    if broker.kind == "nats":
        yield "broker.mqtt_port", broker.host, broker.mqtt_port
        yield "broker.client_port", "127.0.0.1", broker.client_port
    yield "web.port", web.host, web.port
    if update is not None:
        yield "update.port", update.host, update.port


def complaints(settings: Settings) -> list[str]:
    """Return what speaks against listening, a sentence a port; nothing where this gateway runs already."""
    try:
        if child.is_held(settings.gateway.data_dir / "broker"):
            return []
    except OSError as reason:
        return [f"{settings.gateway.data_dir / 'broker' / 'lock'}: cannot be opened: {reason.strerror}"]
    found = []
    with ExitStack() as held:
        for name, host, port in wanted(settings):
            try:
                # Held until all were tried: two settings may name one port.
                held.enter_context(listen(name, host, port))
            except WebServerError as reason:
                found.append(f"{settings.file}: {reason}")
    return found
