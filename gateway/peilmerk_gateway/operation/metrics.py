"""The gateway's metrics, in Prometheus' text form.

Everything counted is read from the store's running totals, which are raised in the transaction that did what
they count: right after any crash, and without a line of code on a message's way. Labels come from closed sets
only: refusal codes, states, checks, and the names of sinks from the settings. Never a device, a deployment,
a place or a reason in words.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from peilmerk_gateway.operation.condition import CHECKS, Condition
from peilmerk_gateway.operation.process import ProcessCollector
from peilmerk_gateway.refusal import Reason
from peilmerk_gateway.store import Figures, Store, StoreError
from peilmerk_gateway.store.schema import ACKNOWLEDGED, EXPIRED, QUEUED, SENT, WITHDRAWN

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_TOTALS = (
    ("messages_received", "received", "Messages taken from the broker."),
    ("messages_redelivered", "redelivered", "Messages that the broker brought again although stored."),
    ("reports_stored", "reports", "Reports of windows that were admitted and stored."),
    ("daily_totals_stored", "days", "Totals of days that were admitted and stored."),
    ("statements_stored", "statements", "Statements of boards that were stored."),
    ("observations_stored", "observations", "Figures that were stored."),
    ("figures_withheld", "withheld", "Figures that were withheld and forgotten."),
    ("command_answers", "answers", "Answers of boards to commands."),
)


@dataclass(frozen=True)
class Facts:
    """What else is told; each is asked when somebody wants the metrics."""

    deployments: Callable[[], int] = lambda: 0
    broken_records: Callable[[], int] = lambda: 0
    devices: Callable[[], tuple[int, int]] = lambda: (0, 0)
    """How many devices may connect, and how many no longer may."""
    broker_connected: Callable[[], bool] = lambda: False
    certificate_ends: float | None = None
    """When the broker's certificate or its authority ends, unix seconds."""
    reloads: Callable[[], tuple[int, int]] = field(default=lambda: (0, 0))
    """How often the settings were read anew, and how often they could not be used."""
    mirror_in_step: Callable[[], bool | None] = lambda: False
    """Whether an SQLite store's mirror has all of it; None where there is to be none."""


class _Collected(Collector):
    """Metrics of one moment."""

    def __init__(self, figures: Figures | None, condition: Condition, facts: Facts) -> None:
        self._figures, self._condition, self._facts = figures, condition, facts

    def collect(self) -> Iterable[Metric]:
        """Yield every family; those of the store are left out while it cannot be read."""
        yield _gauge("build_info", "The version that runs.", [("version", version("peilmerk"), 1)])
        yield from self._of_condition()
        yield from self._of_facts()
        if self._figures is not None:
            yield from self._of_store(self._figures)

    def _of_condition(self) -> Iterator[Metric]:
        condition = self._condition
        troubles = condition.troubles()
        yield _gauge("ready", "Whether nothing stands in the way.", [("", "", not troubles)])
        yield _gauge(
            "check_ok",
            "Whether nothing stands in the way at this check.",
            [("check", check, check not in troubles) for check in CHECKS],
        )
        if condition.free_bytes is not None:
            yield _gauge("disk_free_bytes", "Room on the data's disk.", [("", "", condition.free_bytes)])
        yield _gauge(
            "disk_least_free_bytes", "Below this it is not ready.", [("", "", condition.least_free_bytes)]
        )
        if condition.pending_messages is not None:
            held = [("", "", condition.pending_messages)]
            yield _gauge("broker_pending_messages", "Messages that the broker holds for the gateway.", held)
        if condition.store_bytes is not None:
            yield _gauge("store_bytes", "Size of the store on its disk.", [("", "", condition.store_bytes)])
        rows = [("sink", name, backlog.rows) for name, backlog in condition.backlog.items()]
        yield _gauge("outbox_due_rows", "Rows that could be sent now or are on their way.", rows)
        oldest = [("sink", name, backlog.oldest or 0) for name, backlog in condition.backlog.items()]
        yield _gauge(
            "outbox_oldest_due_timestamp_seconds", "When the oldest due row was stored; 0 for none.", oldest
        )

    def _of_facts(self) -> Iterator[Metric]:
        facts = self._facts
        yield _gauge("broker_connected", "Whether the broker is there.", [("", "", facts.broker_connected())])
        yield _gauge("deployments", "Deployments in force.", [("", "", facts.deployments())])
        yield _gauge(
            "records_broken", "Deployment records that cannot be used.", [("", "", facts.broken_records())]
        )
        enrolled, revoked = facts.devices()
        yield _gauge(
            "devices",
            "Devices of the registry.",
            [("state", "enrolled", enrolled), ("state", "revoked", revoked)],
        )
        if facts.certificate_ends is not None:
            yield _gauge(
                "certificate_expires_timestamp_seconds",
                "When the broker's certificate or its authority ends.",
                [("", "", facts.certificate_ends)],
            )
        if (in_step := facts.mirror_in_step()) is not None:
            words = "Whether the store's second copy has all of it."
            yield _gauge("store_mirror_in_step", words, [("", "", in_step)])
        good, bad = facts.reloads()
        yield _counter(
            "settings_reloads",
            "How often the settings were read anew.",
            [("result", "taken", good), ("result", "refused", bad)],
        )

    def _of_store(self, figures: Figures) -> Iterator[Metric]:
        for name, field_name, words in _TOTALS:
            yield _counter(name, words, [("", "", getattr(figures, field_name))])
        yield _counter(
            "messages_refused",
            "Messages that were not taken, by the code of the reason.",
            [("reason", str(reason), figures.refused.get(str(reason), 0)) for reason in Reason],
        )
        yield _gauge("reports_parked", "Reports that wait for a statement.", [("", "", figures.parked)])
        yield _gauge(
            "commands",
            "Commands by what became of them.",
            [
                ("state", state, figures.commands.get(state, 0))
                for state in (QUEUED, SENT, ACKNOWLEDGED, EXPIRED, WITHDRAWN)
            ],
        )
        yield _counter(
            "observations_published",
            "Figures that a platform has.",
            [("sink", name, sink.published) for name, sink in figures.sinks.items()],
        )
        yield _gauge(
            "outbox_rows",
            "Figures on their way to a platform.",
            [
                (("sink", "state"), (name, state), getattr(sink, state))
                for name, sink in figures.sinks.items()
                for state in ("waiting", "sending", "rejected")
            ],
            ("sink", "state"),
        )


def _gauge(
    name: str, words: str, samples: Iterable[tuple[object, object, float]], labels: tuple[str, ...] = ()
) -> Metric:
    return _filled(GaugeMetricFamily, name, words, samples, labels)


def _counter(name: str, words: str, samples: Iterable[tuple[object, object, float]]) -> Metric:
    return _filled(CounterMetricFamily, name, words, samples, ())


def _filled(
    family: type[GaugeMetricFamily] | type[CounterMetricFamily],
    name: str,
    words: str,
    samples: Iterable[tuple[object, object, float]],
    labels: tuple[str, ...],
) -> Metric:
    """Make a family of samples (label, its value, figure); a label "" is none."""
    samples = list(samples)
    if not labels and samples and samples[0][0]:
        labels = (str(samples[0][0]),)
    made = family(f"peilmerk_{name}", words, labels=labels)
    for _, value, figure in samples:
        values = value if isinstance(value, tuple) else (value,) if labels else ()
        made.add_metric([str(one) for one in values], float(figure))
    return made


async def exposition(store: Store, condition: Condition, facts: Facts) -> bytes:
    """Return the metrics of this moment; without those of the store when it cannot be read."""
    try:
        figures = await store.figures()
    except StoreError:
        figures = None
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(figures, condition, facts))
    registry.register(ProcessCollector())
    return generate_latest(registry)
