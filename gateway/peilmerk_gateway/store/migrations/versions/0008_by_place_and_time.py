"""Figures lie by place and time and the ledger by time, so that many boards' rows share a page; what is
queued is found by its figure

Revision: 0008, after 0007
"""

import sqlalchemy as sa
from alembic import op

revision = '0008'
down_revision = '0007'
branch_labels = None
depends_on = None

LEDGER = ('window_start', 'deployment', 'device_id', 'quantity', 'kind')
FIGURE = ('deployment', 'thing', 'window_start', 'datastream')
QUEUED = ('observation_id', 'sink')
UNFINISHED = sa.text("state != 'done'")


def upgrade() -> None:
    op.create_table(
        'device_stream',
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('datastream', sa.String(length=200), nullable=False),
        sa.PrimaryKeyConstraint('device_id', 'datastream', name=op.f('pk_device_stream')),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f('ix_device_stream_datastream'), 'device_stream', ['datastream'], unique=False)
    op.execute('INSERT INTO device_stream SELECT DISTINCT device_id, datastream FROM observation')
    op.drop_index(op.f('ix_ledger_window_start'), table_name='ledger')
    op.drop_index(op.f('ix_observation_device_id'), table_name='observation')
    if op.get_bind().dialect.name == 'sqlite':
        _made_anew()
        return
    op.drop_constraint(op.f('pk_ledger'), 'ledger', type_='primary')
    op.create_primary_key(op.f('pk_ledger'), 'ledger', list(LEDGER))
    op.drop_constraint(op.f('uq_observation_datastream_window_start'), 'observation', type_='unique')
    op.create_unique_constraint(op.f(f'uq_observation_{"_".join(FIGURE)}'), 'observation', list(FIGURE))
    op.drop_constraint(op.f('pk_publish_outbox'), 'publish_outbox', type_='primary')
    op.create_primary_key(op.f('pk_publish_outbox'), 'publish_outbox', list(QUEUED))


def _made_anew() -> None:
    """Make the tables anew and fill them: SQLite changes no key in place.

    What is renamed takes its references along, so that nothing points to nowhere in between.
    """
    op.drop_index(op.f('ix_observation_audit_entry'), table_name='observation')
    op.drop_index(op.f('ix_publish_outbox_audit_entry'), table_name='publish_outbox')
    op.drop_index('ix_publish_outbox_unfinished', table_name='publish_outbox')
    for table in ('ledger', 'observation', 'publish_outbox'):
        op.rename_table(table, f'{table}_before')
    op.create_table(
        'ledger',
        sa.Column('deployment', sa.String(length=64), nullable=False),
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('quantity', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('kind', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('window_start', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('epsilon_micro', sa.BigInteger(), nullable=False),
        sa.Column('spent_at', sa.Float(), nullable=False),
        sa.Column('audit_entry', sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint(*LEDGER, name=op.f('pk_ledger')),
        sqlite_with_rowid=False,
    )
    op.create_table(
        'observation',
        sa.Column('id', sa.Integer(), autoincrement=True, nullable=False),
        sa.Column('datastream', sa.String(length=200), nullable=False),
        sa.Column('deployment', sa.String(length=64), nullable=False),
        sa.Column('thing', sa.String(length=64), nullable=False),
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('quantity', sa.Integer(), nullable=False),
        sa.Column('window_start', sa.BigInteger(), nullable=False),
        sa.Column('window_s', sa.Integer(), nullable=False),
        sa.Column('result', sa.BigInteger(), nullable=False),
        sa.Column('spread', sa.BigInteger(), nullable=True),
        sa.Column('samples', sa.BigInteger(), nullable=True),
        sa.Column('noise_scale', sa.Float(), nullable=True),
        sa.Column('minimum', sa.BigInteger(), nullable=True),
        sa.Column('maximum', sa.BigInteger(), nullable=True),
        sa.Column('completeness', sa.Integer(), nullable=True),
        sa.Column('stored_at', sa.Float(), nullable=False),
        sa.Column('audit_entry', sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_observation')),
        sa.UniqueConstraint(*FIGURE, name=op.f(f'uq_observation_{"_".join(FIGURE)}')),
    )
    op.create_table(
        'publish_outbox',
        sa.Column('sink', sa.String(length=32), nullable=False),
        sa.Column('observation_id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('state', sa.String(length=8), nullable=False),
        sa.Column('attempts', sa.Integer(), nullable=False),
        sa.Column('next_attempt_at', sa.Float(), nullable=False),
        sa.Column('error', sa.String(length=500), nullable=True),
        sa.Column('remote_id', sa.String(length=200), nullable=True),
        sa.Column('published_at', sa.Float(), nullable=True),
        sa.Column('audit_entry', sa.BigInteger(), nullable=True),
        sa.ForeignKeyConstraint(
            ['observation_id'], ['observation.id'], name=op.f('fk_publish_outbox_observation_id')
        ),
        sa.PrimaryKeyConstraint(*QUEUED, name=op.f('pk_publish_outbox')),
    )
    for table in ('ledger', 'observation', 'publish_outbox'):
        names = _columns(table)
        assert sorted(names) == sorted(_columns(f'{table}_before'))
        every = ', '.join(names)
        op.execute(f'INSERT INTO {table} ({every}) SELECT {every} FROM {table}_before')
    for table in ('publish_outbox', 'observation', 'ledger'):
        op.drop_table(f'{table}_before')
    op.create_index(op.f('ix_observation_audit_entry'), 'observation', ['audit_entry'], unique=False)
    op.create_index(op.f('ix_publish_outbox_audit_entry'), 'publish_outbox', ['audit_entry'], unique=False)
    op.create_index(
        'ix_publish_outbox_unfinished',
        'publish_outbox',
        ['sink', 'state', 'observation_id'],
        unique=False,
        sqlite_where=UNFINISHED,
    )


def _columns(table: str) -> list[str]:
    return [row[1] for row in op.get_bind().exec_driver_sql(f'PRAGMA table_info({table})')]
