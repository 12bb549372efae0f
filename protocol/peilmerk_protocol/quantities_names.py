"""The words of every quantity: names, labels, units and how each platform calls it.

The gateway, its publishers and its pages read this table; a board never loads it. The rows carry words only:
kind, scale, range and components come from `quantities`, so that neither can say something else. Extremes
bear the words of their mean; only the observed property is known to platforms, which have no attribute for
the lowest and highest sample of a window.

Sources: units in UCUM and in UN/CEFACT Recommendation 20 codes; EEA pollutant vocabulary
(dd.eionet.europa.eu/vocabulary/aq/pollutant); QUDT quantity kinds; smart-data-models AirQualityObserved,
NoiseLevelObserved, TrafficFlowObserved and CrowdFlowObserved; value types of sensor.community's API.

Platforms differ in scale: NGSI-LD wants relative humidity from 0 to 1, sensor.community wants pressure in Pa.
Their publishers convert; the units here are ours.
"""

from peilmerk_protocol import quantities

_EEA = "http://dd.eionet.europa.eu/vocabulary/aq/pollutant/"
_QUDT = "http://qudt.org/vocab/quantitykind/"
_MODELS = "https://smartdatamodels.org/dataModel."

_UGM3 = ("ug/m3", "GQ", "µg/m³")
_CELSIUS = ("Cel", "CEL", "°C")
_PERCENT = ("%", "P1", "%")
_ONE = ("1", "C62", "")
_PPM = ("[ppm]", "59", "ppm")
_HPA = ("hPa", "A97", "hPa")
# UCUM cannot say A-weighting; the label and the quantity's name do.
_DECIBEL = ("dB[SPL]", "2N", "dB(A)")

_AIR = "AirQualityObserved"
_NOISE = "NoiseLevelObserved"
_TRAFFIC = "TrafficFlowObserved"
_CROWD = "CrowdFlowObserved"


class Quantity:
    """One row of the table.

    number: 0 to 31, the bit on the wire. name: stable word for keys and addresses. label, label_nl: for
    people. unit: UCUM. unit_code: UN/CEFACT. unit_label: as people write it. kind, components, scale, range:
    as in `quantities`; scale is (numerator, denominator), range is (lowest, highest) in that scale.
    Platform names are None where a platform does not know the quantity: ngsi_ld_type and ngsi_ld (entity type
    and attribute), observed_property (URI, always there), sensor_community (value_type), eea (pollutant URI).
    """

    def __init__(
        self,
        number: int,
        name: str,
        label: str,
        label_nl: str,
        unit: "tuple[str, str, str]",
        observed_property: str,
        ngsi_ld_type: "str | None" = None,
        ngsi_ld: "str | None" = None,
        sensor_community: "str | None" = None,
        eea: "str | None" = None,
    ) -> None:
        self.number = number
        self.name = name
        self.label = label
        self.label_nl = label_nl
        self.unit, self.unit_code, self.unit_label = unit
        self.observed_property = observed_property
        self.ngsi_ld_type = ngsi_ld_type
        self.ngsi_ld = ngsi_ld
        self.sensor_community = sensor_community
        self.eea = eea
        self.kind = quantities.kind(number)
        self.components = quantities.components(number)
        self.scale = quantities.scale(number)
        self.range = quantities.value_range(number)
        self.is_count = quantities.is_count(number)

    def __repr__(self) -> str:
        return "Quantity(%d, %r)" % (self.number, self.name)


def _pollutant(
    number: int, name: str, label: str, label_nl: str, code: str, ngsi_ld: str, community: "str | None"
) -> Quantity:
    unit = _PPM if number == quantities.CO2 else _UGM3
    return Quantity(number, name, label, label_nl, unit, _EEA + code, _AIR, ngsi_ld, community, _EEA + code)


def _passages(number: int, name: str, label: str, label_nl: str) -> Quantity:
    if name.startswith("pedestrian"):
        attribute = "peopleCount"
        if name.endswith("_towards"):
            attribute = "peopleCountTowards"
        elif name.endswith("_away"):
            attribute = "peopleCountAway"
        return Quantity(
            number, name, label, label_nl, _ONE, _MODELS + "Transportation/" + attribute, _CROWD, attribute
        )
    return Quantity(
        number, name, label, label_nl, _ONE, _MODELS + "Transportation/intensity", _TRAFFIC, "intensity"
    )


_MEASURED = (
    _pollutant(0, "pm2_5", "Fine particles PM2.5", "Fijnstof PM2,5", "6001", "pm25", "P2"),
    _pollutant(1, "pm10", "Particles PM10", "Fijnstof PM10", "5", "pm10", "P1"),
    Quantity(
        2,
        "temperature",
        "Air temperature",
        "Luchttemperatuur",
        _CELSIUS,
        _QUDT + "Temperature",
        _AIR,
        "temperature",
        "temperature",
    ),
    Quantity(
        3,
        "humidity",
        "Relative humidity",
        "Relatieve luchtvochtigheid",
        _PERCENT,
        _QUDT + "RelativeHumidity",
        _AIR,
        "relativeHumidity",
        "humidity",
    ),
    Quantity(4, "samples", "Samples behind a mean", "Metingen achter een gemiddelde", _ONE, _QUDT + "Count"),
    _passages(5, "bicycle_towards", "Bicycles, towards", "Fietsers, heen"),
    _passages(6, "bicycle_away", "Bicycles, away", "Fietsers, terug"),
    _passages(7, "pedestrian_towards", "Pedestrians, towards", "Voetgangers, heen"),
    _passages(8, "pedestrian_away", "Pedestrians, away", "Voetgangers, terug"),
    _passages(9, "vehicle_towards", "Motor vehicles, towards", "Motorvoertuigen, heen"),
    _passages(10, "vehicle_away", "Motor vehicles, away", "Motorvoertuigen, terug"),
    _passages(11, "unclassified_towards", "Passages, towards", "Passages, heen"),
    _passages(12, "unclassified_away", "Passages, away", "Passages, terug"),
    _passages(13, "bicycle", "Bicycles", "Fietsers"),
    _passages(14, "pedestrian", "Pedestrians", "Voetgangers"),
    _passages(15, "vehicle", "Motor vehicles", "Motorvoertuigen"),
    _passages(16, "unclassified", "Passages", "Passages"),
    _pollutant(17, "pm1", "Fine particles PM1", "Fijnstof PM1", "6002", "pm1", "P0"),
    _pollutant(18, "co2", "Carbon dioxide", "Koolstofdioxide", "71", "co2", None),
    _pollutant(19, "no2", "Nitrogen dioxide", "Stikstofdioxide", "8", "no2", None),
    Quantity(
        20,
        "pressure",
        "Air pressure",
        "Luchtdruk",
        _HPA,
        _QUDT + "AtmosphericPressure",
        _AIR,
        "pressure",
        "pressure",
    ),
    Quantity(
        21,
        "laeq",
        "Sound level LAeq",
        "Geluidsniveau LAeq",
        _DECIBEL,
        _MODELS + "Environment/LAeq",
        _NOISE,
        "LAeq",
        "noise_LAeq",
    ),
    Quantity(
        22,
        "lamax",
        "Highest sound level LAmax",
        "Hoogste geluidsniveau LAmax",
        _DECIBEL,
        _MODELS + "Environment/LAmax",
        _NOISE,
        "LAmax",
        "noise_LA_max",
    ),
    Quantity(
        23,
        "la90",
        "Background sound level LA90",
        "Achtergrondgeluid LA90",
        _DECIBEL,
        _QUDT + "SoundPressureLevel",
    ),
    Quantity(
        24,
        "completeness",
        "Share of the expected samples",
        "Aandeel van de verwachte metingen",
        _PERCENT,
        _QUDT + "Completeness",
    ),
)


def _extremes(number: int) -> Quantity:
    mean = _MEASURED[quantities.mean_of(number)]
    return Quantity(
        number,
        mean.name + "_extremes",
        mean.label + ", lowest and highest",
        mean.label_nl + ", laagste en hoogste",
        (mean.unit, mean.unit_code, mean.unit_label),
        mean.observed_property,
    )


ALL = _MEASURED + tuple(_extremes(number) for number in range(len(_MEASURED), quantities.NUMBER))
"""All quantities, by number."""

_BY_NAME = {quantity.name: quantity for quantity in ALL}


def by_number(number: int) -> Quantity:
    """Find a quantity by its number. QuantityError when there is none."""
    if not 0 <= number < len(ALL):
        raise quantities.QuantityError("quantity")
    return ALL[number]


def by_name(name: str) -> Quantity:
    """Find a quantity by its name. QuantityError when there is none."""
    quantity = _BY_NAME.get(name)
    if quantity is None:
        raise quantities.QuantityError("quantity")
    return quantity
