"""Totals of days, extremes and completeness, uptime

Revision: 0003, after 0002
"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = '0003'
down_revision = '0002'
branch_labels = None
depends_on = None

REPORT = 1


def upgrade() -> None:
    op.add_column('observation', sa.Column('minimum', sa.BigInteger(), nullable=True))
    op.add_column('observation', sa.Column('maximum', sa.BigInteger(), nullable=True))
    op.add_column('observation', sa.Column('completeness', sa.Integer(), nullable=True))
    op.add_column('attestation', sa.Column('uptime', sa.BigInteger(), nullable=True))
    # A key cannot be changed in place on SQLite, nor added without a value elsewhere: made anew, and filled.
    _anew(
        'report',
        'device_id, seq, window_start, window_s, revision, health, digest, admitted_at',
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('kind', sa.Integer(), nullable=False),
        sa.Column('window_start', sa.BigInteger(), nullable=False),
        sa.Column('window_s', sa.Integer(), nullable=False),
        sa.Column('revision', sa.Integer(), nullable=False),
        sa.Column('health', sa.Integer(), nullable=False),
        sa.Column('digest', sa.LargeBinary(length=32), nullable=True),
        sa.Column('admitted_at', sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint('device_id', 'seq', name=op.f('pk_report')),
        sa.UniqueConstraint('device_id', 'kind', 'window_start', name=op.f('uq_report_device_id_kind_window_start')),
    )
    _anew(
        'ledger',
        'deployment, device_id, quantity, window_start, epsilon_micro, spent_at',
        sa.Column('deployment', sa.String(length=64), nullable=False),
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('quantity', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('kind', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('window_start', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('epsilon_micro', sa.BigInteger(), nullable=False),
        sa.Column('spent_at', sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint('deployment', 'device_id', 'quantity', 'kind', 'window_start', name=op.f('pk_ledger')),
    )
    op.create_index(op.f('ix_ledger_window_start'), 'ledger', ['window_start'], unique=False)
    _anew(
        'parked',
        'device_id, seq, sealed, digest, at',
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('kind', sa.Integer(), nullable=False),
        sa.Column('sealed', sa.LargeBinary(length=512), nullable=False),
        sa.Column('digest', sa.LargeBinary(length=32), nullable=False),
        sa.Column('at', sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint('device_id', 'seq', name=op.f('pk_parked')),
    )


def _anew(table: str, kept: str, *columns: Any) -> None:
    """Make a table anew with its rows, all of them of reports."""
    op.execute(f'CREATE TABLE {table}_before AS SELECT {kept} FROM {table}')
    op.drop_table(table)
    op.create_table(table, *columns, sqlite_with_rowid=False)
    op.execute(f'INSERT INTO {table} ({kept}, kind) SELECT {kept}, {REPORT} FROM {table}_before')
    op.drop_table(f'{table}_before')
