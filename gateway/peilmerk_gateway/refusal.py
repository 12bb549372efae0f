"""Why a message was not taken: stable reason codes, and a sentence for each in Dutch and English.

A refusal never stops anything. It is counted and kept as (device, reason, size, time), the device only when
the message was authenticated; the message itself only in the quarantine (see `store.quarantine`). The codes
are part of the interface: dashboards and tests go by them, so a code is not renamed. G1 to G8 are the privacy
gate's, from the governance record.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Reason(StrEnum):
    """The stable codes."""

    # open: what arrived is not a message of one of our devices
    MALFORMED = "malformed"
    TOO_LARGE = "too-large"
    UNKNOWN_DEVICE = "unknown-device"
    REVOKED_DEVICE = "revoked-device"
    FORGED = "forged"
    # admit: it is, but it may not be taken
    REPLAYED = "replayed"
    SEQUENCE_REUSED = "sequence-reused"
    WINDOW_REPEATED = "window-repeated"
    WINDOW_AHEAD = "window-ahead"
    WINDOW_BEHIND = "window-behind"
    NOT_ATTESTED = "not-attested"
    NO_DEPLOYMENT = "no-deployment"
    DEVICE_INACTIVE = "device-inactive"
    RECORD_BROKEN = "record-broken"
    HOST_PAUSED = "host-paused"
    HOST_WITHDRAWN = "host-withdrawn"
    QUANTITY_RANGE = "quantity-range"
    ACK_UNKNOWN = "ack-unknown"
    ACK_REPEATED = "ack-repeated"
    G1 = "G1"
    G2 = "G2"
    G3 = "G3"
    G4 = "G4"
    G5 = "G5"
    G6 = "G6"
    G7 = "G7"
    G8 = "G8"
    # a fault of ours; the message is kept out, the rest goes on
    INTERNAL = "internal"


# reason: (English, Dutch). Plain sentences for the page and for the operator.
_SENTENCES: dict[Reason, tuple[str, str]] = {
    Reason.MALFORMED: (
        "The message is not of the agreed form.",
        "Het bericht heeft niet de afgesproken vorm.",
    ),
    Reason.TOO_LARGE: (
        "The message is larger than any message of a sensor can be.",
        "Het bericht is groter dan een bericht van een sensor kan zijn.",
    ),
    Reason.UNKNOWN_DEVICE: (
        "No sensor of this name is enrolled.",
        "Er is geen sensor met deze naam aangemeld.",
    ),
    Reason.REVOKED_DEVICE: (
        "The sensor's right to connect was taken away.",
        "Het recht van de sensor om te verbinden is ingetrokken.",
    ),
    Reason.FORGED: (
        "The seal is not the sensor's own.",
        "Het zegel is niet van de sensor zelf.",
    ),
    Reason.REPLAYED: (
        "The message was taken before and came again.",
        "Het bericht was al aangenomen en kwam opnieuw.",
    ),
    Reason.SEQUENCE_REUSED: (
        "The message carries a number that another message had before.",
        "Het bericht draagt een nummer dat een ander bericht al had.",
    ),
    Reason.WINDOW_REPEATED: (
        "The report covers time that another report of the sensor covered before.",
        "De melding gaat over tijd waarover de sensor al eerder heeft gemeld.",
    ),
    Reason.WINDOW_AHEAD: (
        "The report is about time that has not passed yet.",
        "De melding gaat over tijd die nog niet voorbij is.",
    ),
    Reason.WINDOW_BEHIND: (
        "The report is older than a sensor can keep one.",
        "De melding is ouder dan een sensor er een kan bewaren.",
    ),
    Reason.NOT_ATTESTED: (
        "The sensor has not stated which software and settings it runs.",
        "De sensor heeft niet verklaard met welke programmatuur en instellingen hij werkt.",
    ),
    Reason.NO_DEPLOYMENT: (
        "No deployment record names this sensor.",
        "Geen enkel inzetdossier noemt deze sensor.",
    ),
    Reason.DEVICE_INACTIVE: (
        "The deployment record says that this sensor is not in use.",
        "Volgens het inzetdossier is deze sensor niet in gebruik.",
    ),
    Reason.RECORD_BROKEN: (
        "The deployment record of this sensor cannot be used.",
        "Het inzetdossier van deze sensor is onbruikbaar.",
    ),
    Reason.HOST_PAUSED: (
        "The host has paused the sensor, or had paused it when it measured this.",
        "De gastheer heeft de sensor gepauzeerd, of had dat toen hij dit mat.",
    ),
    Reason.HOST_WITHDRAWN: (
        "The host has withdrawn: nothing of this sensor is taken any more.",
        "De gastheer doet niet meer mee: van deze sensor wordt niets meer aangenomen.",
    ),
    Reason.QUANTITY_RANGE: (
        "A figure lies outside what the sensor can measure.",
        "Een waarde ligt buiten wat de sensor kan meten.",
    ),
    Reason.ACK_UNKNOWN: (
        "The sensor acknowledges a command that it was never sent.",
        "De sensor bevestigt een opdracht die hem nooit is gestuurd.",
    ),
    Reason.ACK_REPEATED: (
        "The sensor acknowledges a command that it acknowledged before.",
        "De sensor bevestigt een opdracht die hij al eerder had bevestigd.",
    ),
    Reason.G1: (
        "The deployment record lacks type, theme, location, the personal-data answer or the end date.",
        "In het inzetdossier ontbreekt soort, thema, locatie, antwoord over persoonsgegevens of einddatum.",
    ),
    Reason.G2: (
        "Personal data is handled, and the deployment record lacks legal ground or privacy declaration.",
        "Er worden persoonsgegevens verwerkt; in het inzetdossier ontbreekt grondslag of privacyverklaring.",
    ),
    Reason.G3: (
        "There is no notification of at least five days ago, or the period of the deployment record has not "
        "begun or is over.",
        "Er is geen melding van minstens vijf dagen geleden, of de periode van het inzetdossier is niet "
        "begonnen of voorbij.",
    ),
    Reason.G4: (
        "Personal data is handled on the sensor, and its assessment (DPIA) is absent or overdue.",
        "Op de sensor worden persoonsgegevens verwerkt en de beoordeling (DPIA) ontbreekt of is verlopen.",
    ),
    Reason.G5: (
        "The deployment record leaves one of the eight DTPR categories empty.",
        "Het inzetdossier laat een van de acht DTPR-categorieën leeg.",
    ),
    Reason.G6: (
        "Software or privacy settings of the sensor differ from the deployment record.",
        "Programmatuur of privacy-instellingen van de sensor wijken af van het inzetdossier.",
    ),
    Reason.G7: (
        "The sensor reports something that its deployment record does not declare.",
        "De sensor meldt iets dat niet in zijn inzetdossier staat.",
    ),
    Reason.G8: (
        "The sensor listens to radios of passers-by without a dated period and a precisely described area.",
        "De sensor luistert naar zenders van voorbijgangers zonder periode en nauwkeurig omschreven gebied.",
    ),
    Reason.INTERNAL: (
        "The gateway failed on this message; the log says where.",
        "Het verwerkingspunt faalde op dit bericht; het logboek zegt waar.",
    ),
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """One refused message: `device_id` only when authenticated, `size` in bytes, `at` in unix seconds."""

    reason: Reason
    device_id: str | None
    size: int
    at: float


def sentence(reason: Reason | str, language: str = "en") -> str:
    """Return the reason as a sentence in `language` ("en" or "nl"); an unknown code is returned as it is."""
    try:
        english, dutch = _SENTENCES[Reason(reason)]
    except ValueError:
        return str(reason)
    return dutch if language == "nl" else english
