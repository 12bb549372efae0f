"""The tables of the store: what was admitted, what it cost, what is still to be published.

Units: every time is unix seconds UTC (whole for windows, with fractions for moments); every figure is the
whole number that came over the wire (physical value = figure * scale, see `peilmerk_protocol.quantities`);
epsilon is in millionths, so that no privacy figure is ever a binary fraction.

What is *not* here is as deliberate: no exact count (it never left the device), no figure that was withheld,
no payload of a refused message (but see `quarantine`), no place, no name of a person.

The statements built on these tables are plain SQLAlchemy Core and run on SQLite and PostgreSQL alike. A
change here needs a migration beside it; a test compares the two.

Boards report by turns, so a batch has a row of each of many boards. Where rows lie board by board, or stream
by stream, each goes to a page of its own, which is read, written and written once more: what a report costs
grew to the double with the years. So figures lie by place and time, a report's side by side, and the ledger
by time alone. What a board has figures of, `device_stream` tells.
"""

from __future__ import annotations

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    String,
    Table,
    UniqueConstraint,
    literal_column,
)

# Named constraints, because a constraint without a name cannot be changed by a later migration.
metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

# SQLite numbers rows by itself only in a column of exactly the type INTEGER.
RowId = BigInteger().with_variant(Integer(), "sqlite")

# Reports and days' totals, which take their numbers from one row: `kind` is REPORT or DAY of
# `peilmerk_protocol.topics`, here as in the ledger and among what is parked.
report = Table(
    "report",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("window_s", Integer, nullable=False),
    Column("revision", Integer, nullable=False),
    Column("health", Integer, nullable=False),
    # SHA-256 of the sealed message, to tell a resend from a reused number. Empty when a figure of the report
    # was withheld: with the key in hand a digest would give the figure away by trial.
    Column("digest", LargeBinary(32), nullable=True),
    Column("admitted_at", Float, nullable=False),
    # Here and below: the entry of the audit trail that tells of it; empty for what is older than the trail.
    # It has an index where rows are deleted one day, and what is left of an entry is to be found.
    Column("audit_entry", BigInteger, nullable=True),
    UniqueConstraint("device_id", "kind", "window_start"),
    Index(None, "audit_entry"),
    sqlite_with_rowid=False,
)

observation = Table(
    "observation",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("datastream", String(200), nullable=False),
    Column("deployment", String(64), nullable=False),
    Column("thing", String(64), nullable=False),
    Column("device_id", String(16), nullable=False),
    Column("quantity", Integer, nullable=False),
    Column("window_start", BigInteger, nullable=False),
    Column("window_s", Integer, nullable=False),
    Column("result", BigInteger, nullable=False),
    Column("spread", BigInteger, nullable=True),
    Column("samples", BigInteger, nullable=True),
    # Standard deviation of the noise in it, in units of the figure; empty for what carries no noise. For
    # display.
    Column("noise_scale", Float, nullable=True),
    # Lowest and highest sample behind a mean, and percent of the samples that there should have been.
    Column("minimum", BigInteger, nullable=True),
    Column("maximum", BigInteger, nullable=True),
    Column("completeness", Integer, nullable=True),
    Column("stored_at", Float, nullable=False),
    Column("audit_entry", BigInteger, nullable=True),
    # A datastream is of one thing, so this says that each of its windows is there once.
    UniqueConstraint("deployment", "thing", "window_start", "datastream"),
    Index(None, "audit_entry"),
)

# Which board ever had a figure of which datastream.
device_stream = Table(
    "device_stream",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("datastream", String(200), primary_key=True),
    Index(None, "datastream"),
    sqlite_with_rowid=False,
)

withheld = Table(
    "withheld",
    metadata,
    Column("datastream", String(200), primary_key=True),
    Column("window_start", BigInteger, primary_key=True, autoincrement=False),
    # Two boards have windows of one datastream at a time when one replaces the other. Empty in rows that
    # are older than this column.
    Column("device_id", String(16), primary_key=True),
    Column("reason", String(32), nullable=False),
    Column("audit_entry", BigInteger, nullable=True),
    Index(None, "audit_entry"),
    sqlite_with_rowid=False,
)

ledger = Table(
    "ledger",
    metadata,
    Column("deployment", String(64)),
    Column("device_id", String(16)),
    Column("quantity", Integer, autoincrement=False),
    Column("kind", Integer, autoincrement=False),
    Column("window_start", BigInteger, autoincrement=False),
    Column("epsilon_micro", BigInteger, nullable=False),
    Column("spent_at", Float, nullable=False),
    Column("audit_entry", BigInteger, nullable=True),
    PrimaryKeyConstraint("window_start", "deployment", "device_id", "quantity", "kind"),
    sqlite_with_rowid=False,
)

attestation = Table(
    "attestation",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("revision", Integer, nullable=False),
    Column("firmware_digest", LargeBinary(32), nullable=False),
    Column("profile_digest", LargeBinary(32), nullable=False),
    Column("reset_cause", Integer, nullable=False),
    Column("boot_count", BigInteger, nullable=False),
    Column("uptime", BigInteger, nullable=True),
    Column("at", Float, nullable=False),
    Column("audit_entry", BigInteger, nullable=True),
    sqlite_with_rowid=False,
)

# Authentic reports whose device's statement has not come yet: a broker that brings again what a crash left
# open brings it later than what followed. They wait here, acknowledged, until it comes or patience ends.
parked = Table(
    "parked",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    Column("sealed", LargeBinary(512), nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    # By the wall clock, as the broker's patience is.
    Column("at", Float, nullable=False),
    sqlite_with_rowid=False,
)

# Authentic reports that were refused for what a person can mend: the record, or what the device stated. Kept
# as they were sealed, for a while, so that they can be judged anew: see `store.quarantine`.
quarantine = Table(
    "quarantine",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("kind", Integer, nullable=False),
    # Its index, as the report has it: how long it is, only a record tells.
    Column("window", BigInteger, nullable=False),
    Column("sealed", LargeBinary(512), nullable=False),
    Column("size", Integer, nullable=False),
    Column("reason", String(32), nullable=False),
    # When it was refused first.
    Column("at", Float, nullable=False),
    # How many there are and how large, without reading them.
    Index(None, "at", "size"),
    sqlite_with_rowid=False,
)

QUEUED, SENT, ACKNOWLEDGED, EXPIRED, WITHDRAWN = "queued", "sent", "acknowledged", "expired", "withdrawn"

# What devices were told to do, and what they answered. Kept: this is who was told what, and when.
command = Table(
    "command",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("counter", BigInteger, primary_key=True, autoincrement=False),
    Column("expiry", BigInteger, nullable=False),
    Column("verb", Integer, nullable=False),
    # As the body of the command carries it: CBOR.
    Column("argument", LargeBinary(128), nullable=False),
    Column("state", String(12), nullable=False),
    # Numbers of `peilmerk_protocol.command`; empty until the device answered.
    Column("outcome", Integer, nullable=True),
    Column("detail", BigInteger, nullable=True),
    Column("attempts", Integer, nullable=False),
    Column("created_at", Float, nullable=False),
    # Of the last attempt.
    Column("sent_at", Float, nullable=True),
    Column("answered_at", Float, nullable=True),
    Index(None, "state"),
    sqlite_with_rowid=False,
)

# The last counter that a device's commands and its time beacons took; see `store.commands`.
command_counter = Table(
    "command_counter",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("command", BigInteger, nullable=False),
    Column("beacon", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

refusal = Table(
    "refusal",
    metadata,
    Column("id", RowId, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    # Only when the message was authenticated: whoever can publish may claim any name.
    Column("device_id", String(16), nullable=True),
    Column("reason", String(32), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("audit_entry", BigInteger, nullable=True),
)

# Running totals, raised in the transaction that did what they count: right after any crash, and read without
# counting rows. Names: see `peilmerk_gateway.store.figures`.
tally = Table(
    "tally",
    metadata,
    Column("name", String(80), primary_key=True),
    Column("n", BigInteger, nullable=False),
    sqlite_with_rowid=False,
)

# What was decided, entry by entry: see `peilmerk_gateway.store.trail`.
audit_entry = Table(
    "audit_entry",
    metadata,
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("kind", String(16), nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    Index(None, "kind", "number"),
    sqlite_with_rowid=False,
)

# Its one row is the last entry: what workers take turns at.
audit_head = Table(
    "audit_head",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=False),
    Column("number", BigInteger, nullable=False),
    Column("digest", LargeBinary(32), nullable=False),
    # What the trail binds, as `store.trail` numbers it; empty for one that goes on from an older version.
    Column("form", Integer, nullable=True),
    sqlite_with_rowid=False,
)

# When a device's host did not want it to take part: from `since` until `until`, empty for still. `kind` is
# of `store.halts`. Whose device it is, is not known here.
halt = Table(
    "halt",
    metadata,
    Column("device_id", String(16), primary_key=True),
    Column("kind", String(9), primary_key=True),
    Column("since", Float, primary_key=True),
    Column("until", Float, nullable=True),
    sqlite_with_rowid=False,
)

WAITING, SENDING, DONE, REJECTED = "waiting", "sending", "done", "rejected"

publish_outbox = Table(
    "publish_outbox",
    metadata,
    Column("sink", String(32)),
    Column("observation_id", RowId, ForeignKey("observation.id"), autoincrement=False),
    Column("state", String(8), nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("next_attempt_at", Float, nullable=False),
    Column("error", String(500), nullable=True),
    Column("remote_id", String(200), nullable=True),
    Column("published_at", Float, nullable=True),
    Column("audit_entry", BigInteger, nullable=True),
    # By the figure first: who deletes one looks for what is queued of it, and so does the foreign key.
    PrimaryKeyConstraint("observation_id", "sink"),
    Index(None, "audit_entry"),
    # Keeps its row numbers: without them SQLite's planner walks the primary key through everything finished.
)

# Millions of finished rows, a handful of unfinished ones: index the latter only. Queries use the same
# expression, with the word written out: a planner cannot see that a parameter will hold it, and would not
# take the index.
unfinished = publish_outbox.c.state != literal_column("'done'")
Index(
    "ix_publish_outbox_unfinished",
    publish_outbox.c.sink,
    publish_outbox.c.state,
    publish_outbox.c.observation_id,
    sqlite_where=unfinished,
    postgresql_where=unfinished,
)

sink_entity = Table(
    "sink_entity",
    metadata,
    Column("sink", String(32), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("key", String(300), primary_key=True),
    Column("remote_id", String(200), nullable=False),
    sqlite_with_rowid=False,
)
