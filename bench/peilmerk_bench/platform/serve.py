"""The SensorThings child: configures Django for the service, migrates its database and serves.

Contract: `python -m peilmerk_bench.platform.serve --data-dir D --descriptor FD --port P --parent PID` serves
on the listening socket FD it inherits until SIGTERM, and ends when process PID does. State is in D:
`platform.sqlite3` and `secret` (mode 0600).
"""

from __future__ import annotations

import argparse
import ctypes
import os
import secrets
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any
from uuid import UUID

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_PARENT_CHECK_S = 1.0

# Django imports its addresses by name.
_URLS = "peilmerk_bench.platform.serve_urls"


def settings(data_dir: Path, port: int) -> dict[str, Any]:
    """Django's settings for a SensorThings service of its own on `port`, its state in `data_dir`."""
    return {
        "SECRET_KEY": _secret(data_dir / "secret"),
        "DEBUG": False,
        "ALLOWED_HOSTS": ["127.0.0.1", "localhost"],
        "ROOT_URLCONF": _URLS,
        "USE_TZ": True,
        "TIME_ZONE": "UTC",
        "INSTALLED_APPS": [
            "sensorthings.versions.v1_1",
            "sensorthings.versions.v1_1.backends.django",
            "sensorthings.versions.v1_1.extensions.dataarray",
        ],
        # Sends `/v1.1` to `/v1.1/`, which the service itself answers with 404.
        "MIDDLEWARE": ["django.middleware.common.CommonMiddleware"],
        "DATABASES": {
            "default": {
                "ENGINE": "django.db.backends.sqlite3",
                "NAME": str(data_dir / "platform.sqlite3"),
                "OPTIONS": {
                    "timeout": 20,
                    "transaction_mode": "IMMEDIATE",
                    "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;",
                },
            }
        },
        "SENSORTHINGS_V1_1_SERVICE_URL": f"http://127.0.0.1:{port}",
        "SENSORTHINGS_V1_1_BACKEND_ADAPTER": (
            "sensorthings.versions.v1_1.backends.django.adapter.DjangoBackendAdapter"
        ),
        "SENSORTHINGS_V1_1_ID_TYPE": UUID,
        "SENSORTHINGS_V1_1_ID_DELIMITER": "'",
    }


def main(arguments: list[str] | None = None) -> int:
    """Serve until told to stop; see the module's contract."""
    parser = argparse.ArgumentParser(prog="python -m peilmerk_bench.platform.serve")
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--descriptor", type=int, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--parent", type=int, required=True)
    options = parser.parse_args(arguments)
    _end_with(options.parent)

    import django  # type: ignore[import-untyped]
    import uvicorn
    from django.conf import settings as django_settings  # type: ignore[import-untyped]
    from django.core.asgi import get_asgi_application  # type: ignore[import-untyped]
    from django.core.management import call_command  # type: ignore[import-untyped]

    django_settings.configure(**settings(options.data_dir, options.port))
    django.setup()
    call_command("migrate", verbosity=0, interactive=False)
    server = uvicorn.Server(
        uvicorn.Config(
            get_asgi_application(),
            lifespan="off",
            log_level="warning",
            access_log=False,
            timeout_graceful_shutdown=5,
        )
    )
    server.run(sockets=[socket.socket(fileno=options.descriptor)])
    return 0


def _end_with(parent: int) -> None:
    """End this process when `parent` does: by the kernel on Linux, by looking once a second elsewhere."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above took effect
        os._exit(0)

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_PARENT_CHECK_S)
        os._exit(0)

    # On Linux the signal follows the parent's *thread*; this one follows the process everywhere.
    threading.Thread(target=watch, daemon=True, name="parent-watch").start()


def _secret(path: Path) -> str:
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(48))
    return path.read_text(encoding="ascii")


if __name__ == "__main__":
    raise SystemExit(main())
