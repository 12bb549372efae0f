"""Downgrade: bring back what was in force before, rightly signed then, because it was weaker.

Of firmware: updates that are older than what a board has proved, signed by the city's own key; and newer ones
that somebody else signed or altered. Of terms: the record of before, with a lower threshold and a larger
epsilon, put back into the gateway's folder while the gateway is down.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from peilmerk_bench.audit.attacks import records
from peilmerk_bench.audit.attacks.score import OURS, WEAK, Score
from peilmerk_bench.audit.children import answer_of
from peilmerk_bench.audit.device_side import SCRIPTS, micropython
from peilmerk_bench.audit.overlay import AuditError, Change, changed_copy
from peilmerk_gateway.deployments.catalogue import Catalogue
from peilmerk_gateway.deployments.history import FOLDER, History, Texts
from peilmerk_gateway.store import Store
from peilmerk_protocol.profile import STANDARD_COUNTER, Profile
from peilmerk_provisioning import release as releases
from peilmerk_provisioning.bundle import Bundle, firmware_folder

PROVEN = (0, 5, 0)
OLDER = ((0, 0, 1), (0, 1, 0), (0, 2, 0), (0, 4, 65535), (0, 5, 0))
NEWER = (0, 5, 1)
GOOD = "newer"
CHIP, MPY = "linux", 6
PATIENCE_S = 120
ANY_VERSION = (Change("node/update/receive.py", "if version <= floor:", "if False:"),)
"""What makes of the firmware one that takes whatever the city's key has ever signed."""
LOOSE = Profile(1, 900, STANDARD_COUNTER.set, (7, 1), (3, 1), 1, 4)
DEVICE = "abcdefghijklmnop"


def firmware_of(version: tuple[int, int, int]) -> Bundle:
    """Return a firmware in a few lines; boot.py and main.py are those that are shipped."""
    files = {name: (firmware_folder() / name).read_bytes() for name in ("boot.py", "main.py")}
    files["node/__init__.py"] = f"VERSION = {version}\n".encode()
    files["node/app.py"] = b"def main():\n    pass\n"
    return Bundle(dict(sorted(files.items())), MPY)


class Offers:
    """A board's flash in a folder, the city's release key, and what is offered to the board."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.flash = folder / "flash"
        self.key = releases.load_key(self._key("city"))
        for path, data in firmware_of(PROVEN).placed().items():
            (self.flash / path).parent.mkdir(parents=True, exist_ok=True)
            (self.flash / path).write_bytes(data)
        (self.flash / "data").mkdir()
        (self.flash / "release.der").write_bytes(releases.public_frame(self.key))

    def _key(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        file = self.folder / f"{name}.pem"
        releases.new_key(file)
        return file

    def made(self) -> dict[str, bytes]:
        """Return what is offered, by what it is: GOOD must be taken, nothing else may be."""
        good = self._signed(NEWER)
        other = releases.load_key(self._key("stranger"))
        made = {f"older {'.'.join(map(str, version))}": self._signed(version) for version in OLDER}
        made |= {
            "another's key": self._signed(NEWER, other),
            "altered": good[:-1] + bytes([good[-1] ^ 1]),
            "altered manifest": good[:60] + bytes([good[60] ^ 1]) + good[61:],
            "cut short": good[:-1],
        }
        return made | {GOOD: good}

    def _signed(self, version: tuple[int, int, int], key: RSAPrivateKey | None = None) -> bytes:
        made = releases.make(firmware_of(version), version, "counter", [CHIP], key or self.key)
        return made.signed + made.content

    def taken(self, made: dict[str, bytes], firmware: Path | None = None) -> list[str]:
        """Offer files to a firmware's receiver of updates (None: as shipped); return which it took."""
        names = {}
        for number, (name, data) in enumerate(made.items()):
            file = self.folder / f"offer-{number}"
            file.write_bytes(data)
            names[str(file)] = name
        start, environment = micropython(firmware)
        words = [str(self.flash), "counter", ".".join(map(str, PROVEN)), *names]
        said = answer_of(
            [*start, str(SCRIPTS / "offer.py"), *words],
            environment,
            "the board that was offered updates",
            PATIENCE_S,
        )
        return [names[file] for file, reason in json.loads(said.splitlines()[-1]).items() if not reason]


def updates(folder: Path) -> list[Score]:
    """Offer the same updates to the firmware that is shipped and to the weak one. Raises AuditError."""
    offers = Offers(folder)
    made = offers.made()
    weak = changed_copy(firmware_folder(), ANY_VERSION, folder / "firmware")
    return [_updates(OURS, offers, made, None), _updates(WEAK, offers, made, weak)]


def _updates(side: str, offers: Offers, made: dict[str, bytes], firmware: Path | None) -> Score:
    taken = offers.taken(made, firmware)
    if GOOD not in taken:
        raise AuditError(f"the board took {taken or 'nothing'}, wanted the newer update among it")
    bad = [name for name in taken if name != GOOD]
    return Score(
        "downgrade of firmware",
        side,
        "updates taken that must not be, share",
        len(bad) / (len(made) - 1),
        0.0,
        0.0,
        0.0,
        len(made) - 1,
        "the newer one was taken" + "".join(f"; {name} was taken too" for name in bad),
    )


def record(side: str, folder: Path) -> Score:
    """Put an older record back. The weak gateway is ours without a history. Raises AuditError."""
    return asyncio.run(_record(side, folder))


async def _record(side: str, folder: Path) -> Score:
    texts = Texts(folder / "data" / FOLDER)
    directory = folder / "deployments"
    tries = {"the older version": ("1", LOOSE), "the same version, other terms": ("2", LOOSE)}

    async def started(version: str, profile: Profile) -> Catalogue:
        pole = records.Pole("paal-1", DEVICE, (5.1214, 52.0907))
        records.write(directory, "fietspad", [pole], profile, bytes(32), version=version)
        async with await Store.open(folder / "data" / "store.db") as store:
            history = History(texts, await store.records_told()) if side == OURS else None
            catalogue = Catalogue(directory, history)
            await store.note_records(catalogue.facts, 1_709_251_200.0)
        return catalogue

    (folder / "data").mkdir(parents=True, exist_ok=True)
    await started("1", LOOSE)
    taken = []
    for words, (version, profile) in tries.items():
        catalogue = await started("2", STANDARD_COUNTER)
        mandate = catalogue.mandate(DEVICE)
        if mandate is None or mandate.k != STANDARD_COUNTER.k:
            raise AuditError(f"the newer record: found {catalogue.broken}, wanted it in force")
        mandate = (await started(version, profile)).mandate(DEVICE)
        if mandate is not None:
            taken.append(f"{words}: k = {mandate.k} in force")
    return Score(
        "downgrade of terms",
        side,
        "weaker records taken into force, share",
        len(taken) / len(tries),
        0.0,
        0.0,
        0.0,
        len(tries),
        "; ".join(taken) or "each was refused and stopped its deployment",
    )
