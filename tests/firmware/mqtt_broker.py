"""A real nats-server with MQTT over TLS for the firmware's tests, and a line that can lose answers."""

import asyncio
import datetime
import ipaddress
import sys
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from patience import DEADLINE_S

from peilmerk_gateway.free_port import free_port

NATS_SERVER = Path(sys.executable).with_name("nats-server")
NAME = "broker.test"
DAY = datetime.timedelta(days=1)


def certificate(name, issuer=None, authority=False, ends=None, begins=None):
    """(certificate, key) for `name`; issuer is such a pair, None means self-signed."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer[0].subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins or now - 30 * DAY)
        .not_valid_after(ends or now + 30 * DAY)
        .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
    )
    if not authority:
        names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return builder.sign(issuer[1] if issuer else key, hashes.SHA256()), key


def der(pair):
    return pair[0].public_bytes(serialization.Encoding.DER)


def keep(folder, pair):
    """Write server.pem and server.key."""
    (folder / "server.pem").write_bytes(pair[0].public_bytes(serialization.Encoding.PEM))
    (folder / "server.key").write_bytes(
        pair[1].private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )


class Broker:
    """nats-server on free ports below `folder`; one user, `device` with `password`."""

    def __init__(self, folder, device, password, ends=None, begins=None):
        self.folder = folder
        self.authority = certificate("Test authority", authority=True)
        self.mqtt_port = free_port()
        self.client_port = free_port()
        keep(folder, certificate(NAME, self.authority, ends=ends, begins=begins))
        (folder / "nats.conf").write_text(
            f"""
            server_name: test
            host: 127.0.0.1
            port: {self.client_port}
            jetstream {{ store_dir: "{folder}/store" }}
            mqtt {{
              host: 127.0.0.1
              port: {self.mqtt_port}
              tls {{ cert_file: "{folder}/server.pem", key_file: "{folder}/server.key" }}
            }}
            authorization {{ users: [
              {{ user: "{device}", password: "{password}" }}
              {{ user: "gateway", password: "gateway" }}
            ] }}
            """
        )
        self.process = None

    async def start(self):
        log = (self.folder / "nats.log").open("ab")
        self.process = await asyncio.create_subprocess_exec(
            str(NATS_SERVER), "-c", str(self.folder / "nats.conf"), stdout=log, stderr=log
        )
        log.close()
        deadline = asyncio.get_running_loop().time() + DEADLINE_S
        for port in (self.client_port, self.mqtt_port):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
                    break
                except OSError:
                    assert self.process.returncode is None, (self.folder / "nats.log").read_text()
                    assert asyncio.get_running_loop().time() < deadline
                    await asyncio.sleep(0.05)

    async def stop(self):
        if self.process is not None:
            self.process.kill()
            await self.process.wait()
            self.process = None


class Line:
    """A TCP line to `port` that can be told to lose everything that comes back."""

    def __init__(self, port, host="127.0.0.1", own_port=0):
        self.port = port
        self.host = host
        self.own_port = own_port
        self.deaf = False
        self.connections = 0
        self.server = None

    async def __aenter__(self):
        self.server = await asyncio.start_server(self.carry, self.host, self.own_port)
        self.own_port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()

    async def carry(self, reader, writer):
        self.connections += 1
        there, back = await asyncio.open_connection("127.0.0.1", self.port)

        async def forth():
            while data := await reader.read(4096):
                back.write(data)
            back.close()

        async def home():
            while data := await there.read(4096):
                if not self.deaf:
                    writer.write(data)
            writer.close()

        await asyncio.gather(forth(), home(), return_exceptions=True)
