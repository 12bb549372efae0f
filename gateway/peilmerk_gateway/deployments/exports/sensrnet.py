"""Bodies for the registry node of SensRNet (Kadaster): an organisation, goals, devices, sensors,
datastreams.

Each object is the body of one request of the registry's API, nested as the registry nests them: POST
legalentity/organization, observationgoal, device, device/{id}/sensor, device/{id}/sensor/{id}/datastream,
then PUT .../linkgoal. The location is the middle of the public cell, the observed area its square. No
contact details are given: who registers fills in those of the organisation.

Source: the request bodies of github.com/kadaster-labs/sensrnet-registry-backend (2022-03), whose
development has ended; the model lives on in the registers that took it over.
"""

from __future__ import annotations

from typing import Any

from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.measured import Group, group_of, groups_of, labels
from peilmerk_gateway.deployments.exports.needs import Needs, Wish
from peilmerk_gateway.deployments.grid import Cell
from peilmerk_gateway.deployments.record import Datastream, Device, Record

# Characters that the registry takes of a name, a description, a type.
LENGTH = 255
_THEMES = {
    Group.PASSAGES: "Transport",
    Group.AIR: "Air",
    Group.WEATHER: "Air",
    Group.NOISE: "Sound",
}
# Names of the registry's list of types.
_TYPES = {
    Group.PASSAGES: "Proximity sensor",
    Group.AIR: "Air pollution sensor",
    Group.WEATHER: "Environmental sensor / weather station",
    Group.NOISE: "Sound sensor",
}


def make(deployment: Deployment, wish: Wish, needs: Needs) -> dict[str, Any]:
    """Return the bodies of all requests."""
    record = deployment.record
    needs.outdoors(record.location.indoor)
    if not record.purposes:
        needs.lack("purposes", "not found, wanted at least one with its goal")
    organisation = {"name": needs.text("owner.organisation", record.owner.organisation, LENGTH)}
    if record.owner.website is not None:
        organisation["website"] = needs.text("owner.website", record.owner.website, LENGTH)
    return {
        "organization": organisation,
        "observationGoals": [
            _without_none(
                {
                    "name": f"{record.id}/{number}",
                    "description": purpose.goal,
                    "legalGround": purpose.legal_ground,
                }
            )
            for number, purpose in enumerate(record.purposes, 1)
        ],
        "devices": [
            _device(record, f"devices[{number}]", device, deployment.cells[device.name], needs)
            for number, device in enumerate(record.devices, 1)
        ],
    }


def _device(record: Record, field: str, device: Device, cell: Cell, needs: Needs) -> dict[str, Any]:
    described = "location.description" if device.description is None else f"{field}.description"
    text = device.description or record.location.description
    roles = record.roles
    made = {
        "manufacturer": roles.manufacturer if roles else None,
        "supplier": roles.supplier if roles else None,
    }
    return {
        "name": f"{record.id}/{device.name}",
        "description": needs.text(described, text, LENGTH),
        "category": "Sensor",
        "location": {
            "name": cell.id,
            "description": f"Middle of a square of {cell.size_m} m, not the exact place",
            "location": list(cell.centre),
        },
        "sensors": [
            _without_none(
                {
                    "name": f"{device.name}/{group}",
                    "description": needs.text(
                        f"{field}.type", f"{device.type}: {labels(streams, 'en')}", LENGTH
                    ),
                    "type": _TYPES[group],
                    **made,
                }
            )
            | {"datastreams": [_datastream(record, device, stream, cell) for _, stream in streams]}
            for group, streams in groups_of(record, device).items()
        ],
    }


def _datastream(record: Record, device: Device, stream: Datastream, cell: Cell) -> dict[str, Any]:
    quantity = stream.measures
    group = group_of(quantity)
    public = stream.is_public and not record.location.indoor
    return _without_none(
        {
            "name": quantity.name,
            "description": f"{quantity.label}, one figure for every {record.privacy.window_s // 60} min",
            "unitOfMeasurement": {"name": quantity.unit_label or "1", "symbol": quantity.unit},
            "observedArea": {
                "type": "Polygon",
                "coordinates": [[list(corner) for corner in cell.outline]],
            },
            "theme": [_THEMES[group]] if group is not None else None,
            "dataQuality": stream.quality,
            "isActive": device.active,
            "isPublic": public,
            "isOpenData": public and stream.is_open_data,
            "containsPersonalInfoData": record.contains_personal_data,
            "isReusable": public and stream.is_reusable,
            "documentation": stream.documentation,
        }
    )


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
