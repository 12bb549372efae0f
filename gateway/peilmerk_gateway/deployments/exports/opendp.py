"""An entry for the OpenDP registry of deployments of differential privacy, as a draft of its third tier.

Only what is published of counts is in it, because only that is protected so. What is said of the mechanism
is what the firmware does (docs/architecture.md); figures and words about this deployment are the record's.

Source: schemas/deployments-schema.yaml and its checks, github.com/opendp/deployments-registry-data
(2026-07).
"""

from __future__ import annotations

from typing import Any

from peilmerk_gateway.deployments.catalogue import declared_in
from peilmerk_gateway.deployments.deployment import Deployment
from peilmerk_gateway.deployments.exports.needs import Needs, Wish
from peilmerk_protocol import topics

MECHANISM = (
    "- Discrete Laplace mechanism, drawn exactly from random bits with integers only (Canonne, Kamath, "
    "Steinke "
    "2020), so no floating point is on the privacy path.\n"
    "- The noise of a window is drawn when the window begins, so the moment of sending tells nothing about "
    "it.\n"
    "- Random bits are taken only while the microcontroller's hardware source is fed; otherwise nothing is "
    "released.\n"
    "- One draw a window and count, written down before it is sent; after a loss of power it is not drawn "
    "again.\n"
    "- The exact count is overwritten in memory when the window is released, and is never written to flash.\n"
)


def make(deployment: Deployment, wish: Wish, needs: Needs) -> dict[str, Any]:
    """Return the entry."""
    record, privacy = deployment.record, deployment.record.privacy
    counts = [
        declared
        for declared in declared_in(deployment)
        if declared.stream.is_public and declared.stream.quantity.is_count
    ]
    if not counts:
        needs.lack("datastreams", "found no count that is public, wanted one: the registry is about those")
    if not record.purposes:
        needs.lack("purposes", "not found, wanted at least one with its goal")
    labels = "; ".join(dict.fromkeys(declared.stream.quantity.label for declared in counts))
    minutes = privacy.window_s / 60
    passage = privacy.epsilon_leaf + privacy.epsilon_day
    day = bool(privacy.epsilon_day)
    noise = {declared.kind: declared.mandate.noise_scale(declared.kind) for declared in counts}
    others = [quantity.label for quantity in privacy.unprotected_quantities]
    return {
        "url_slug": record.id,
        "status": "Draft",
        "tier": 3,
        "deployment": {
            "basic": {
                "name": f"{record.project or record.id}: passages by the window",
                "data_curators": [record.owner.organisation],
                "intended_use": "; ".join(purpose.goal for purpose in record.purposes),
                "data_product_type": "Summary statistics",
                "data_product_region": ", ".join(["Netherlands", *record.location.regions]),
                "description": (
                    f"{labels}: one figure for every {minutes:g} minutes"
                    + (" and one for every day (UTC)" if day else "")
                    + f", at {len({declared.device.name for declared in counts})} sensor(s). "
                    + record.location.description
                ),
                "publication_date": needs.day("active_from", record.active_from).isoformat(),
            },
            "dp_variant": {
                "variant_name": "Pure DP",
                "data_domain": "Numbers of passages a window at one sensor, by kind and direction.",
                "unprotected_quantities": (
                    "Means of physical quantities, in which nobody is counted: " + "; ".join(others)
                    if others
                    else "None of what is counted; place (a square of 100 m), time and state of the sensor "
                    "are public."
                ),
            },
            "privacy_loss": {
                "privacy_unit": f"Event-level: {privacy.unit}",
                "privacy_unit_details": (
                    "Two data sets are adjacent when they differ by one passage at one sensor in one "
                    "window. Nobody "
                    "is recognised, so the passages of one person are not bounded; somebody who passes "
                    f"{privacy.m_assumed} times a day at one sensor is protected with epsilon "
                    f"{privacy.m_assumed * passage} a day, and passing several sensors adds up."
                ),
                "privacy_parameters": {"epsilon": float(passage)},
                "privacy_parameters_details": (
                    f"{privacy.epsilon_leaf} for the figure of the window"
                    + (f" and {privacy.epsilon_day} for the total of the day." if day else ".")
                ),
            },
            "deployment_model": {
                "model_name": "Central",
                "model_name_details": (
                    "The curator is the sensor: it counts, adds noise and forgets the exact count. No "
                    "exact count "
                    "reaches a gateway, a database or a person. It is not the local model, because a "
                    "passer-by "
                    "trusts the sensor."
                ),
                "actors": (
                    "The sensor, trusted, with signed firmware whose digest the record names; the gateway "
                    "and the "
                    "platforms, not trusted with counts, see noisy figures only; the public sees what is "
                    "published."
                ),
                "release_type": "Many releases",
                "release_type_details": (
                    f"Every {minutes:g} minutes until {record.active_until.isoformat()}. Windows are "
                    "disjoint and "
                    "each is released once; nothing is released without an entry in the ledger."
                ),
                "data_source_type": "Dynamic",
                "access_type": "Non-interactive",
            },
            "accounting": {
                "post_processing": f"Noisy figures below {privacy.k} are withheld.",
                "composition": (
                    "Windows are disjoint: parallel composition. "
                    + (
                        "The window and the day's total add up for a passage: sequential composition."
                        if day
                        else ""
                    )
                ).strip(),
            },
            "implementation": {
                "preprocessing_and_hyperparameter_tuning": (
                    "None on the data: parameters were agreed before anything was counted and are in the "
                    "record."
                ),
                "mechanisms": MECHANISM,
                "justification": "Standard deviation of the noise: "
                + ", ".join(
                    f"{scale:.1f} for {'the total of a day' if kind == topics.DAY else 'a window'}"
                    for kind, scale in sorted(noise.items(), key=lambda item: item[0] == topics.DAY)
                )
                + ".",
            },
            "administrative": {
                "sources": "- Sensor firmware and gateway: Peilmerk"
                + (f"\n- Public page: {wish.page}" if wish.page else "")
                + "\n",
                "registry_authors": [record.owner.organisation],
            },
        },
    }
