"""The governance record of a deployment: one TOML file, the union of what registers of sensors ask.

Strict is what every record must answer (devices, datastreams, location, privacy, the answers on personal
data, the end date, the eight DTPR categories); what is wanted because of an answer is in `gates`; the rest
may be left out and is checked where present. A key that no record has is a fault: a misspelt safeguard would
silently not hold.

Sources of the fields: Amsterdam's sensor register, the Kadaster's SensRNet, DTPR's categories, the OpenDP
deployments registry, the Rathenau Institute's public values.
"""

from __future__ import annotations

from datetime import date as Day
from fractions import Fraction
from typing import Annotated, Literal

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    HttpUrl,
    ValidationInfo,
    field_validator,
    model_validator,
)

from peilmerk_protocol import quantities, topics
from peilmerk_protocol.quantities_names import Quantity, by_name, by_number

# A year of figures shows every season once; who needs more, or less, says so in the record.
RETENTION_DAYS = 365


def _web_address(text: str) -> str:
    HttpUrl(text)
    return text


def _fraction(value: object) -> Fraction:
    """Read "7/10" or a whole number; a decimal would not be the number that was agreed."""
    if isinstance(value, Fraction):
        return value
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise ValueError(f'found {value!r}, wanted a fraction in quotes such as "7/10"')
    try:
        fraction = Fraction(value)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'found {value!r}, wanted a fraction such as "7/10"') from None
    if "." in str(value) or "e" in str(value).lower():
        raise ValueError(f'found {value!r}, wanted a fraction such as "7/10", not a decimal')
    if not 0 <= fraction <= 16 or fraction.denominator > 65_535:
        raise ValueError(f"found {value!r}, wanted a fraction from 0 to 16 with a denominator up to 65535")
    return fraction


def _digest(text: object) -> bytes:
    if isinstance(text, bytes):
        return text
    try:
        digest = bytes.fromhex(str(text))
    except ValueError:
        digest = b""
    if len(digest) != 32:
        raise ValueError(f"found {text!r}, wanted 64 hexadecimal digits (SHA-256)")
    return digest


def _quantity(name: object) -> Quantity:
    if isinstance(name, Quantity):
        return name
    try:
        return by_name(str(name))
    except quantities.QuantityError:
        raise ValueError(f"found {name!r}, wanted the name of a known quantity, such as 'pm2_5'") from None


def _device_id(text: str) -> str:
    if not topics.valid_device_id(text):
        raise ValueError(f"found {text!r}, wanted the 16 characters that 'peilmerk device enrol' printed")
    return text


Text = Annotated[str, Field(min_length=1, max_length=2000, pattern=r"\S")]
Line = Annotated[str, Field(min_length=1, max_length=200, pattern=r"^[^\n]*\S[^\n]*$")]
Name = Annotated[str, Field(max_length=64, pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$")]
Url = Annotated[str, AfterValidator(_web_address)]
Epsilon = Annotated[Fraction, BeforeValidator(_fraction)]
Measures = Annotated[Quantity, BeforeValidator(_quantity)]


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class Point(_Table):
    """Where it hangs, degrees WGS84. Never published, never logged, never in an error."""

    longitude: Annotated[float, Field(ge=-180, le=180)] = Field(repr=False)
    latitude: Annotated[float, Field(ge=-90, le=90)] = Field(repr=False)


class Owner(_Table):
    """Who answers for it. Name, address, e-mail and telephone are for the operator, not for the page."""

    organisation: Line
    name: Line | None = None
    email: Line | None = None
    phone: Line | None = None
    address: Line | None = None
    kvk: Line | None = None
    website: Url | None = None


class Roles(_Table):
    """Who does what with the data."""

    controller: Line | None = None
    processor: Line | None = None
    supplier: Line | None = None
    manufacturer: Line | None = None


class Device(_Table):
    """One board. `name` is public, `device_id` is not; `point` where it is not at the location.

    `next_firmware_digest` is what it may run as well, while an update is under way. `radio_capture` tells
    whether it listens to radios of passers-by (Bluetooth); it must be answered where it counts without class.
    """

    name: Name
    device_id: Annotated[str, AfterValidator(_device_id)]
    type: Line
    model: Line
    firmware_digest: Annotated[bytes, BeforeValidator(_digest)]
    next_firmware_digest: Annotated[bytes, BeforeValidator(_digest)] | None = None
    bgt_object_id: Line | None = None
    active: bool = True
    radio_capture: bool | None = None
    point: Point | None = None
    description: Line | None = None


class Location(_Table):
    """Where the deployment is: a private point, and what may be said of it.

    At a private host's `public_cell` says all that the gateway has to know, and the point stays with the
    host's own data; `addresses` is how many lie in the square (see `dwellings`).
    """

    point: Point | None = None
    description: Text
    public_cell: Line | None = None
    addresses: Annotated[int, Field(strict=True, ge=0)] | None = None
    regions: tuple[Line, ...] = ()
    observed_area: Text | None = None
    indoor: bool = False


class Datastream(_Table):
    """One thing that is measured. `devices` names those that measure it; left out, all do.

    After `retention_days` its figures are deleted on the gateway; what a platform has, stays there.
    """

    measures: Measures
    observed_property: Line
    unit: Line | None = None
    frequency: Line | None = None
    quality: Text | None = None
    themes: Annotated[tuple[Line, ...], Field(min_length=1)]
    is_public: bool
    is_open_data: bool = False
    is_reusable: bool = False
    documentation: Url | None = None
    devices: tuple[Name, ...] | None = None
    retention_days: Annotated[int, Field(strict=True, ge=1, le=3_650)] = RETENTION_DAYS

    @field_validator("measures")
    @classmethod
    def _measured(cls, found: Quantity) -> Quantity:
        if found.kind == quantities.KIND_SAMPLES:
            raise ValueError(
                f"found {found.name!r}, wanted what is measured: every mean brings its samples along"
            )
        return found

    @field_validator("observed_property")
    @classmethod
    def _agrees(cls, found: str, info: ValidationInfo) -> str:
        quantity = info.data.get("measures")
        if quantity is not None and found not in (quantity.observed_property, quantity.name):
            raise ValueError(
                f"found {found!r}, wanted {quantity.observed_property!r}, what {quantity.name} observes"
            )
        return found

    @field_validator("unit")
    @classmethod
    def _unit_agrees(cls, found: str | None, info: ValidationInfo) -> str | None:
        quantity = info.data.get("measures")
        if quantity is not None and found is not None and found != quantity.unit:
            raise ValueError(f"found {found!r}, wanted {quantity.unit!r} (UCUM) for {quantity.name}")
        return found


class Purpose(_Table):
    """What the data is for."""

    goal: Text
    dtpr_purpose: Line | None = None
    legal_ground: Text | None = None
    privacy_declaration_url: Url | None = None


class Dpia(_Table):
    """The data-protection impact assessment."""

    status: Line
    url: Url | None = None
    date: Day | None = None
    review_due: Day | None = None
    officer_advice: Text | None = None


class Permit(_Table):
    """Under which regime of the ordinance it hangs."""

    regime: Literal["notification", "permit"]
    id: Line | None = None


class Dtpr(_Table):
    """The eight categories of Digital Trust for Places and Routines."""

    accountable: Text
    purpose: Text
    technology: Text
    data_type: Text
    processing: Text
    access: Text
    storage: Text
    retention: Text


class Privacy(_Table):
    """The terms under which counts leave a device; must equal what the device attests."""

    unit: Line = "one passage in one window"
    window_s: Annotated[int, Field(strict=True, ge=60, le=86_400)]
    epsilon_leaf: Epsilon
    epsilon_day: Epsilon
    m_assumed: Annotated[int, Field(strict=True, ge=0, le=255)]
    k: Annotated[int, Field(strict=True, ge=0, le=65_535)]
    unprotected_quantities: tuple[Measures, ...] = ()

    @field_validator("window_s")
    @classmethod
    def _divides_a_day(cls, found: int) -> int:
        if 86_400 % found:
            raise ValueError(f"found {found}, wanted seconds that divide a day")
        return found

    @field_validator("unprotected_quantities")
    @classmethod
    def _no_counts(cls, found: tuple[Quantity, ...]) -> tuple[Quantity, ...]:
        for quantity in found:
            if quantity.is_count:
                raise ValueError(f"found {quantity.name!r}, wanted none that counts: counts carry noise")
        return found


class Value(_Table):
    """One public value (Rathenau Institute): what could go wrong, what is done about it, by whom."""

    risk: Text
    measure: Text
    owner: Line


class Rathenau(_Table):
    """The seven public values."""

    privacy: Value | None = None
    autonomy: Value | None = None
    safety: Value | None = None
    control_over_technology: Value | None = None
    human_dignity: Value | None = None
    justice: Value | None = None
    balance_of_power: Value | None = None


class Change(_Table):
    """One change of the record."""

    version: Line
    date: Day
    text: Text
    signed_by: Line | None = None


class Record(_Table):
    """A whole record. `private_host`: a private person hangs it at home, which needs no notification and no
    permit; of what protects privacy nothing is left out.
    """

    id: Name
    reference: Line | None = None
    project: Line | None = None
    status: Line = "active"
    version: Line = "1"
    signed_by: Line | None = None
    owner: Owner
    public_contact: Line | None = None
    roles: Roles | None = None
    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    location: Location
    datastreams: Annotated[tuple[Datastream, ...], Field(min_length=1)]
    purposes: tuple[Purpose, ...] = ()
    contains_personal_data: bool
    on_device_personal_data: bool
    dpia: Dpia | None = None
    private_host: bool = False
    notified_at: Day | None = None
    permit: Permit | None = None
    active_from: Day | None = None
    active_until: Day
    evaluate_on: Day | None = None
    dtpr: Dtpr
    privacy: Privacy
    rathenau: Rathenau | None = None
    objection_url: Url | None = None
    changelog: tuple[Change, ...] = ()

    @model_validator(mode="after")
    def _holds_together(self) -> Record:
        names = [device.name for device in self.devices]
        _each_once(names, "device name")
        _each_once([device.device_id for device in self.devices], "device id")
        measured: list[str] = []
        for stream in self.datastreams:
            for name in stream.devices if stream.devices is not None else names:
                if name not in names:
                    raise ValueError(
                        f"datastream {stream.measures.name}: found device {name!r}, "
                        f"wanted one of {', '.join(names)}"
                    )
                measured.append(f"{stream.measures.name} of {name}")
            if stream.measures.is_count:
                for key in ("epsilon_leaf", "m_assumed"):
                    if not getattr(self.privacy, key):
                        raise ValueError(
                            f"privacy.{key}: found 0, wanted more, because {stream.measures.name} is a count"
                        )
        _each_once(measured, "datastream")
        _extremes_have_their_mean(self.datastreams, names)
        if self.active_from is not None and self.active_until < self.active_from:
            raise ValueError(
                f"active_until: found {self.active_until}, wanted a day after active_from {self.active_from}"
            )
        return self


def _each_once(found: list[str], what: str) -> None:
    twice = sorted({item for item in found if found.count(item) > 1})
    if twice:
        raise ValueError(f"found {what} {twice[0]!r} twice, wanted each once")


def _extremes_have_their_mean(streams: tuple[Datastream, ...], names: list[str]) -> None:
    """Extremes go along with their mean, so what measures them measures it, and both are public or not."""
    public = {
        (stream.measures.number, name): stream.is_public
        for stream in streams
        for name in (stream.devices if stream.devices is not None else names)
    }
    for (number, name), is_public in public.items():
        if quantities.kind(number) != quantities.KIND_EXTREMES:
            continue
        mean = quantities.mean_of(number)
        if public.get((mean, name)) is not is_public:
            wanted = "is_public the same for both" if (mean, name) in public else "both"
            raise ValueError(
                f"datastream {by_number(number).name}: found it of {name} otherwise than "
                f"{by_number(mean).name}, along with which it goes; wanted {wanted}"
            )
