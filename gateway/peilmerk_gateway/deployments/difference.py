"""What changed between two records, in the words of a council: what it means for what is published.

Every change is one of three: it gives more away or protects less, it gives less away, or it is neither. What
no rule can tell, as a purpose or an area in other words, counts as the first. Neither the exact place, a
board's id, nor anything about a person is repeated.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from peilmerk_gateway.deployments import gates, versions
from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.difference_words import Change, Effect, shown, words
from peilmerk_gateway.deployments.grid import Cell
from peilmerk_gateway.deployments.record import Datastream, Device, Record
from peilmerk_gateway.web.language import Language
from peilmerk_protocol.quantities_names import Quantity


def must_rise(old: Record, new: Record) -> bool:
    """Whether the version of the new record is not above that of the old one, though it should be."""
    return old != new and not versions.is_above(new.version, old.version)


def difference(old: Deployment, new: Deployment, language: Language) -> list[Change]:
    """Return every change from one record to another, the widening ones first."""
    found = [*_Sentences(old, new, language).changes(), *words(old.record, new.record, language)]
    order = list(Effect)
    return sorted(found, key=lambda change: order.index(change.effect))


class _Sentences:
    def __init__(self, old: Deployment, new: Deployment, language: Language) -> None:
        self._old, self._new, self._language = old, new, language
        self._pairs = _paired(old.record.devices, new.record.devices)

    def changes(self) -> Iterator[Change]:
        yield from self._whole()
        yield from self._period()
        yield from self._privacy()
        yield from self._devices()
        yield from self._streams()

    def _say(self, key: str, effect: Effect, text: str, **values: object) -> Change:
        return Change(key, effect, self._language.text(f"diff.{text}", **values))

    def _flag(self, key: str, text: str, old: bool, new: bool, on: Effect = Effect.WIDER) -> Iterator[Change]:
        """Tell of an answer that became yes (with effect `on`) or no (with the opposite one)."""
        if new and not old:
            yield self._say(key, on, text)
        elif old and not new:
            yield self._say(key, _opposite(on), f"{text}.ends")

    def _whole(self) -> Iterator[Change]:
        old, new = self._old.record, self._new.record
        if old.id != new.id:
            yield self._say("id", Effect.WIDER, "id", old=old.id, new=new.id)
        if old.owner.organisation != new.owner.organisation:
            yield self._say(
                "owner.organisation",
                Effect.OTHER,
                "host",
                old=old.owner.organisation,
                new=new.owner.organisation,
            )
        yield from self._flag("private_host", "private_host", old.private_host, new.private_host)
        yield from self._flag(
            "contains_personal_data", "personal", old.contains_personal_data, new.contains_personal_data
        )
        yield from self._flag(
            "on_device_personal_data", "on_device", old.on_device_personal_data, new.on_device_personal_data
        )
        yield from self._flag(
            "location.indoor", "indoor", old.location.indoor, new.location.indoor, Effect.NARROWER
        )
        for key in ("observed_area", "regions"):
            was, is_now = getattr(old.location, key), getattr(new.location, key)
            if was != is_now:
                yield self._say(
                    f"location.{key}", Effect.WIDER, "area", old=self._shown(was), new=self._shown(is_now)
                )
        goals = [tuple(purpose.goal for purpose in record.purposes) for record in (old, new)]
        if goals[0] != goals[1]:
            yield self._say(
                "purposes", Effect.WIDER, "purpose", old=self._shown(goals[0]), new=self._shown(goals[1])
            )

    def _period(self) -> Iterator[Change]:
        """From when to when anything may be published, by notice, period and assessment together."""
        (begin, end), (new_begin, new_end) = map(_in_force, (self._old.record, self._new.record))
        if begin != new_begin:
            earlier = new_begin < begin
            yield self._say(
                "active_from",
                Effect.WIDER if earlier else Effect.NARROWER,
                "begin.earlier" if earlier else "begin.later",
                old=self._day(begin),
                new=self._day(new_begin),
            )
        if end != new_end:
            later = new_end > end
            yield self._say(
                "active_until",
                Effect.WIDER if later else Effect.NARROWER,
                "end.later" if later else "end.earlier",
                old=self._day(end - 1),
                new=self._day(new_end - 1),
            )

    def _privacy(self) -> Iterator[Change]:
        old, new = self._old.record.privacy, self._new.record.privacy
        counted = any(s.measures.is_count for d in (self._old, self._new) for s in d.record.datastreams)
        # Whether more of it gives more away.
        for key, more_is_wider in (
            ("epsilon_leaf", True),
            ("epsilon_day", True),
            ("k", False),
            ("window_s", False),
            ("m_assumed", None),
        ):
            was, is_now = getattr(old, key), getattr(new, key)
            if was == is_now:
                continue
            effect = Effect.OTHER
            if more_is_wider is not None and (counted or key == "window_s"):
                effect = Effect.WIDER if (is_now > was) is more_is_wider else Effect.NARROWER
            text = key
            if key == "epsilon_day" and not (was and is_now):
                text = "epsilon_day.begins" if is_now else "epsilon_day.ends"
            noise = self._noise(is_now) if key == "epsilon_leaf" else ""
            yield self._say(f"privacy.{key}", effect, text, old=was, new=is_now, noise=noise)
        for quantity in _only(new.unprotected_quantities, old.unprotected_quantities):
            yield self._say(
                "privacy.unprotected_quantities", Effect.WIDER, "unprotected", label=self._label(quantity)
            )
        for quantity in _only(old.unprotected_quantities, new.unprotected_quantities):
            yield self._say(
                "privacy.unprotected_quantities",
                Effect.NARROWER,
                "unprotected.ends",
                label=self._label(quantity),
            )

    def _devices(self) -> Iterator[Change]:
        for old, new in self._pairs:
            if old is None or new is None:
                device, effect = (new, Effect.WIDER) if old is None else (old, Effect.NARROWER)
                assert device is not None
                text = "device.begins" if old is None else "device.ends"
                yield self._say(f"devices.{device.name}", effect, text, thing=device.name)
                old, new = old or _like(device), new or _like(device)
            else:
                yield from self._device(old, new)
            yield from self._radio(old, new)

    def _device(self, old: Device, new: Device) -> Iterator[Change]:
        key, thing = f"devices.{new.name}", new.name
        if old.name != new.name:
            yield self._say(f"{key}.name", Effect.OTHER, "device.named", old=old.name, new=new.name)
        if old.device_id != new.device_id:
            yield self._say(f"{key}.device_id", Effect.OTHER, "device.replaced", thing=thing)
        if old.active != new.active:
            effect, text = (Effect.WIDER, "on") if new.active else (Effect.NARROWER, "off")
            yield self._say(f"{key}.active", effect, f"device.{text}", thing=thing)
        for name in ("firmware_digest", "next_firmware_digest"):
            if getattr(old, name) != getattr(new, name):
                yield self._say(f"{key}.{name}", Effect.OTHER, "firmware", thing=thing)
        yield from self._place(old, new)

    def _place(self, old: Device, new: Device) -> Iterator[Change]:
        key, thing = f"devices.{new.name}.point", new.name
        was, is_now = self._old.cells[old.name], self._new.cells[new.name]
        points = old.point or self._old.record.location.point, new.point or self._new.record.location.point
        if was != is_now:
            # A square within another one is the same place, told more or less precisely.
            text = "cell.finer" if _holds(was, is_now) else "cell.coarser" if _holds(is_now, was) else "cell"
            effect = Effect.NARROWER if text == "cell.coarser" else Effect.WIDER
            yield self._say(key, effect, text, thing=thing, old=was.id, new=is_now.id)
        elif points[0] != points[1] and None not in points:
            yield self._say(key, Effect.OTHER, "point", thing=thing)

    def _radio(self, old: Device, new: Device) -> Iterator[Change]:
        if old.radio_capture == new.radio_capture:
            return
        key = f"devices.{new.name}.radio_capture"
        if new.radio_capture:
            yield self._say(key, Effect.WIDER, "radio", thing=new.name)
        elif new.radio_capture is None:
            yield self._say(key, Effect.WIDER, "radio.unsaid", thing=new.name)
        else:
            effect = Effect.NARROWER if old.radio_capture else Effect.OTHER
            yield self._say(key, effect, "radio.ends", thing=new.name)

    def _streams(self) -> Iterator[Change]:
        for old, new in self._pairs:
            was, is_now = _measured(self._old.record, old), _measured(self._new.record, new)
            device = new or old
            assert device is not None
            for quantity in dict.fromkeys([*was, *is_now]):
                yield from self._stream(device.name, quantity, was.get(quantity), is_now.get(quantity))

    def _stream(
        self, thing: str, quantity: Quantity, old: Datastream | None, new: Datastream | None
    ) -> Iterator[Change]:
        key, label = f"datastreams.{quantity.name}", self._label(quantity)
        if old is None or new is None:
            if new is not None:
                fate = self._language.text(f"diff.fate.{_fate(new)}")
                yield self._say(key, Effect.WIDER, "stream.begins", thing=thing, label=label, fate=fate)
            else:
                yield self._say(key, Effect.NARROWER, "stream.ends", thing=thing, label=label)
            return
        fates = _fate(old), _fate(new)
        if fates[0] != fates[1]:
            wider = _FATES.index(fates[1]) > _FATES.index(fates[0])
            yield self._say(
                f"{key}.is_public",
                Effect.WIDER if wider else Effect.NARROWER,
                "stream.fate",
                thing=thing,
                label=label,
                old=self._language.text(f"diff.fate.{fates[0]}"),
                new=self._language.text(f"diff.fate.{fates[1]}"),
            )
        if old.retention_days != new.retention_days:
            longer = new.retention_days > old.retention_days
            yield self._say(
                f"{key}.retention_days",
                Effect.WIDER if longer else Effect.NARROWER,
                "retention",
                label=f"{label} ({thing})",
                old=old.retention_days,
                new=new.retention_days,
            )
        if old.is_reusable != new.is_reusable:
            effect, text = (
                (Effect.WIDER, "reusable") if new.is_reusable else (Effect.NARROWER, "reusable.ends")
            )
            yield self._say(f"{key}.is_reusable", effect, text, thing=thing, label=label)

    def _label(self, quantity: Quantity) -> str:
        return quantity.label_nl if self._language.code == "nl" else quantity.label

    def _noise(self, epsilon: Fraction) -> str:
        if not epsilon:
            return self._language.text("diff.nothing")
        q = math.exp(-epsilon)
        return self._language.number(math.sqrt(2 * q) / (1 - q), 1)

    def _day(self, at: int) -> str:
        if not 0 < at < _FAR:
            return self._language.text("diff.always")
        return datetime.fromtimestamp(at, UTC).date().isoformat()

    def _shown(self, value: Any) -> str:
        return shown(value, self._language)


_FATES = ("kept", "public", "open")
_FAR = 1 << 40


def _opposite(effect: Effect) -> Effect:
    return {Effect.WIDER: Effect.NARROWER, Effect.NARROWER: Effect.WIDER}.get(effect, effect)


def _fate(stream: Datastream) -> str:
    if not stream.is_public:
        return "kept"
    return "open" if stream.is_open_data else "public"


def _holds(large: Cell, small: Cell) -> bool:
    """Whether a square lies in a larger one."""
    return (
        large.size_m > small.size_m
        and 0 <= small.east_m - large.east_m < large.size_m
        and 0 <= small.north_m - large.north_m < large.size_m
    )


def _only(some: tuple[Quantity, ...], others: tuple[Quantity, ...]) -> list[Quantity]:
    return [quantity for quantity in some if quantity not in others]


def _in_force(record: Record) -> tuple[int, int]:
    """Return from when to when anything may be published, unix seconds."""
    period, assessed = gates.in_force(record), gates.assessed(record)
    return max(period.begin, assessed.begin), min(period.end, assessed.end)


def _paired(old: tuple[Device, ...], new: tuple[Device, ...]) -> list[tuple[Device | None, Device | None]]:
    """Pair each board with itself: by its id, or by its name where another board took its place."""
    ids = {device.device_id: device for device in old}
    pairs: list[tuple[Device | None, Device | None]] = []
    left = {device.name: device for device in old}
    later = []
    for device in new:
        before = ids.get(device.device_id)
        if before is None:
            later.append(device)
        else:
            pairs.append((before, device))
            del left[before.name]
    pairs += [(left.pop(device.name, None), device) for device in later]
    return pairs + [(device, None) for device in left.values()]


def _like(device: Device) -> Device:
    """Return a board that listens to no radio: what a board that is not there does. Where nothing is said of
    it, nothing has changed.
    """
    return device if device.radio_capture is None else device.model_copy(update={"radio_capture": False})


def _measured(record: Record, device: Device | None) -> dict[Quantity, Datastream]:
    if device is None:
        return {}
    return {
        stream.measures: stream
        for stream in record.datastreams
        if stream.devices is None or device.name in stream.devices
    }
