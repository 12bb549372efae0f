"""The way into the broker that another gateway of this machine runs, for its workers."""

from __future__ import annotations

from peilmerk_gateway.broker import CLIENT_PORT_FILE, BrokerDown
from peilmerk_gateway.child import command_line
from peilmerk_gateway.ingest.jetstream import Access
from peilmerk_gateway.nats_config import GATEWAY_USER
from peilmerk_gateway.secret_files import first_line
from peilmerk_gateway.settings import Settings


class BrokerBeside:
    """A broker that lies in the data folder and is run by somebody else."""

    def __init__(self, settings: Settings) -> None:
        self._folder = settings.gateway.data_dir / "broker"

    def access(self) -> Access:
        """Return the way in; raises BrokerDown while no server of this folder runs.

        Nobody is to try the port meanwhile: whoever else listens there would be told the password.
        """
        try:
            pid = int((self._folder / "child.pid").read_text())
            port = int((self._folder / CLIENT_PORT_FILE).read_text())
        except (OSError, ValueError):
            raise BrokerDown("the broker was never started here") from None
        if str(self._folder / "nats.conf") not in command_line(pid):
            raise BrokerDown("the broker does not run at this moment")
        password = first_line(self._folder / "gateway.credential", "the gateway's password at its broker")
        return Access(f"nats://127.0.0.1:{port}", GATEWAY_USER, password)
