"""A PostgreSQL server of our own: made in a folder, started on a socket in it, killed and started again.

The programs are Debian's (package `postgresql`) or those on the path. PostgreSQL does not run as root:
started by root it runs as Debian's user `postgres`, or else as `nobody`. Who connects needs a password, as
off this machine; TLS and a port are had by asking. The server ends when this process does.
"""

from __future__ import annotations

import os
import pwd
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from peilmerk_gateway.errors import PeilmerkError
from peilmerk_gateway.store_place import Database

START_S = 60.0
STOP_S = 30.0
USER = "peilmerk"

# Runs between fork and exec. 1 is PR_SET_PDEATHSIG (prctl(2)), which a change of user would undo; on SIGINT
# the server ends at once and in good order.
_TIE = """
import ctypes, os, signal, sys
parent, user, group, *program = sys.argv[1:]
if int(user):
    os.setgroups([])
    os.setgid(int(group))
    os.setuid(int(user))
if sys.platform == "linux":
    ctypes.CDLL(None, use_errno=True).prctl(1, signal.SIGINT, 0, 0, 0)
if os.getppid() != int(parent):
    sys.exit(1)
os.execv(program[0], program)
"""


class ServerError(PeilmerkError):
    """There is no PostgreSQL server to be had; the text says what is in the way."""


def programs() -> Path:
    """Return the folder of PostgreSQL's server programs. Raises ServerError."""
    found = [path for path in Path("/usr/lib/postgresql").glob("*/bin") if (path / "initdb").exists()]
    if found:
        return max(found, key=lambda path: int(path.parent.name) if path.parent.name.isdigit() else 0)
    if (program := shutil.which("initdb")) is not None:
        return Path(program).resolve().parent
    raise ServerError("found no PostgreSQL server, wanted initdb and postgres: apt-get install postgresql")


class PostgresServer:
    """One server. `database(name)` makes a database in it; `settings` are of postgresql.conf."""

    def __init__(self, settings: Mapping[str, str] | None = None, port: int = 5432) -> None:
        self._programs = programs()
        self._settings = dict(settings or {})
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._who = _unprivileged()
        self.folder = Path(tempfile.mkdtemp(prefix="peilmerk-pg-"))
        """The server's own, its socket's too; removed by `close`."""
        self._secrets = Path(tempfile.mkdtemp(prefix="peilmerk-pg-secret-"))
        self.password_file = self._secrets / "password"
        self.password_file.touch(0o600)
        self.password_file.write_text(secrets.token_urlsafe(24))

    @property
    def pid(self) -> int | None:
        """The process id while it runs."""
        running = self._process is not None and self._process.poll() is None
        return self._process.pid if running and self._process is not None else None

    def start(self) -> None:
        """Make the server's files where there are none, start it, and return when it answers."""
        data = self.folder / "data"
        if not (data / "PG_VERSION").exists():
            self._make(data)
        given = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.folder),
            "port": str(self._port),
            "max_connections": "100",
            "shared_buffers": "128MB",
            "log_min_messages": "fatal",
            **self._settings,
        }
        words = [word for name, value in given.items() for word in ("-c", f"{name}={value}")]
        who = (str(self._who.pw_uid), str(self._who.pw_gid)) if self._who else ("0", "0")
        program = [str(self._programs / "postgres"), "-D", str(data), *words]
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", "-c", _TIE, str(os.getpid()), *who, *program],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.folder,
                start_new_session=True,
                umask=0o077,
            )
        self._wait_until_it_answers()

    def _make(self, data: Path) -> None:
        if self._who is not None:
            os.chown(self.folder, self._who.pw_uid, self._who.pw_gid)
        secret = self.folder / "password"
        secret.touch(0o600)
        secret.write_text(self.password_file.read_text())
        if self._who is not None:
            os.chown(secret, self._who.pw_uid, self._who.pw_gid)
        made = subprocess.run(
            [
                str(self._programs / "initdb"),
                f"--pgdata={data}",
                f"--username={USER}",
                f"--pwfile={secret}",
                "--auth=scram-sha-256",
                "--encoding=UTF8",
                "--locale=C",
                "--no-sync",
                "--no-instructions",
            ],
            capture_output=True,
            text=True,
            check=False,
            cwd=self.folder,
            **self._as_user(),
        )
        secret.unlink()
        if made.returncode:
            raise ServerError(f"initdb ended with {made.returncode}: {made.stderr.strip()}")

    def _as_user(self) -> dict[str, Any]:
        if self._who is None:
            return {"umask": 0o077}
        who = self._who
        return {"user": who.pw_uid, "group": who.pw_gid, "extra_groups": [], "umask": 0o077}

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + START_S
        while True:
            try:
                self.execute("SELECT 1")
                return
            except ServerError as reason:
                if self.pid is None or time.monotonic() > deadline:
                    said = (self.folder / "log").read_text("utf-8", "replace").splitlines()[-5:]
                    raise ServerError(f"PostgreSQL does not start: {reason}; it said: {said}") from reason
            time.sleep(0.05)

    def execute(self, statement: str, database: str = "postgres") -> list[Any]:
        """Run one statement past all of the gateway's code; return its rows. Raises ServerError."""
        import psycopg

        try:
            with psycopg.connect(
                host=str(self.folder),
                port=self._port,
                user=USER,
                password=self.password_file.read_text(),
                dbname=database,
                autocommit=True,
                connect_timeout=5,
            ) as connection:
                cursor = connection.execute(statement)
                return cursor.fetchall() if cursor.description else []
        except psycopg.Error as reason:
            raise ServerError(str(reason)) from reason

    def database(self, name: str, template: str = "template1") -> Database:
        """Make a database, empty or as another is, and say how one gets in."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.place(name)

    def place(self, name: str) -> Database:
        """Say how one gets into a database."""
        where = f":{self._port}" if self._port != 5432 else ""
        return Database(f"postgresql://{USER}@{where}/{name}?host={self.folder}", self.password_file)

    def cut_connections(self, database: str, most: int | None = None) -> int:
        """End connections to a database from the server's side; return how many."""
        limit = "" if most is None else f"ORDER BY random() LIMIT {most}"
        rows = self.execute(
            f"SELECT pg_terminate_backend(pid) FROM (SELECT pid FROM pg_stat_activity"
            f" WHERE datname = '{database}' AND pid <> pg_backend_pid() {limit}) AS ended"
        )
        return len(rows)

    def stop(self) -> None:
        """End it in good order, its clients' connections with it."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """End it as a power cut would, every process of it."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(STOP_S)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(number)
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self.kill()

    def close(self) -> None:
        """End it and remove its files."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)
        shutil.rmtree(self._secrets, ignore_errors=True)


def _unprivileged() -> pwd.struct_passwd | None:
    """Return whom the server runs as when root starts it; None for whoever this is."""
    if os.geteuid():
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise ServerError("found nobody to run PostgreSQL as, wanted a user postgres or nobody")
