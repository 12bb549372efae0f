"""Store: keeps what was admitted, in one transaction a batch, and queues it for the platforms.

`Store` is the front door; `rows` holds what goes in and out, `schema` the tables.
"""

from peilmerk_gateway.store.batch_process import WriterFault
from peilmerk_gateway.store.engine import StoreDamaged, StoreError, StoreRefused
from peilmerk_gateway.store.rows import (
    AnswerRow,
    AttestationRow,
    BatchRows,
    BudgetLine,
    CommandRow,
    Entry,
    Figures,
    Known,
    KnownCommand,
    LedgerRow,
    Levels,
    ObservationRow,
    OutboxRow,
    ParkedRow,
    Probe,
    QuarantinedRow,
    ReportRow,
    Seen,
    SinkFigures,
    SpentLine,
    Stored,
    Window,
    WithheldRow,
)
from peilmerk_gateway.store.store import Store
from peilmerk_gateway.store.upkeep import Backlog
from peilmerk_gateway.store_place import STORE_FILE

__all__ = [
    "STORE_FILE",
    "AnswerRow",
    "AttestationRow",
    "Backlog",
    "BatchRows",
    "BudgetLine",
    "CommandRow",
    "Entry",
    "Figures",
    "Known",
    "KnownCommand",
    "LedgerRow",
    "Levels",
    "ObservationRow",
    "OutboxRow",
    "ParkedRow",
    "Probe",
    "QuarantinedRow",
    "ReportRow",
    "Seen",
    "SinkFigures",
    "SpentLine",
    "Store",
    "StoreDamaged",
    "StoreError",
    "StoreRefused",
    "Stored",
    "Window",
    "WithheldRow",
    "WriterFault",
]
