"""The first tables

Revision: 0001, after none
"""

import sqlalchemy as sa
from alembic import op

revision = '0001'
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('attestation',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('firmware_digest', sa.LargeBinary(length=32), nullable=False),
    sa.Column('profile_digest', sa.LargeBinary(length=32), nullable=False),
    sa.Column('reset_cause', sa.Integer(), nullable=False),
    sa.Column('boot_count', sa.BigInteger(), nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('device_id', 'seq', name=op.f('pk_attestation')),
    sqlite_with_rowid=False
    )
    op.create_table('ledger',
    sa.Column('deployment', sa.String(length=64), nullable=False),
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('quantity', sa.Integer(), autoincrement=False, nullable=False),
    sa.Column('window_start', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('epsilon_micro', sa.BigInteger(), nullable=False),
    sa.Column('spent_at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('deployment', 'device_id', 'quantity', 'window_start', name=op.f('pk_ledger')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_ledger_window_start'), 'ledger', ['window_start'], unique=False)

    op.create_table('observation',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
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
    sa.Column('stored_at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_observation')),
    sa.UniqueConstraint('datastream', 'window_start', name=op.f('uq_observation_datastream_window_start'))
    )
    op.create_table('parked',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('sealed', sa.LargeBinary(length=512), nullable=False),
    sa.Column('digest', sa.LargeBinary(length=32), nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('device_id', 'seq', name=op.f('pk_parked')),
    sqlite_with_rowid=False
    )
    op.create_table('refusal',
    sa.Column('id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=True, nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.Column('device_id', sa.String(length=16), nullable=True),
    sa.Column('reason', sa.String(length=32), nullable=False),
    sa.Column('size', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('id', name=op.f('pk_refusal'))
    )
    op.create_table('report',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('window_start', sa.BigInteger(), nullable=False),
    sa.Column('window_s', sa.Integer(), nullable=False),
    sa.Column('revision', sa.Integer(), nullable=False),
    sa.Column('health', sa.Integer(), nullable=False),
    sa.Column('digest', sa.LargeBinary(length=32), nullable=True),
    sa.Column('admitted_at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('device_id', 'seq', name=op.f('pk_report')),
    sa.UniqueConstraint('device_id', 'window_start', name=op.f('uq_report_device_id_window_start')),
    sqlite_with_rowid=False
    )
    op.create_table('sink_entity',
    sa.Column('sink', sa.String(length=32), nullable=False),
    sa.Column('kind', sa.String(length=32), nullable=False),
    sa.Column('key', sa.String(length=300), nullable=False),
    sa.Column('remote_id', sa.String(length=200), nullable=False),
    sa.PrimaryKeyConstraint('sink', 'kind', 'key', name=op.f('pk_sink_entity')),
    sqlite_with_rowid=False
    )
    op.create_table('tally',
    sa.Column('name', sa.String(length=80), nullable=False),
    sa.Column('n', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('name', name=op.f('pk_tally')),
    sqlite_with_rowid=False
    )
    op.create_table('withheld',
    sa.Column('datastream', sa.String(length=200), nullable=False),
    sa.Column('window_start', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('reason', sa.String(length=32), nullable=False),
    sa.PrimaryKeyConstraint('datastream', 'window_start', name=op.f('pk_withheld')),
    sqlite_with_rowid=False
    )
    op.create_table('publish_outbox',
    sa.Column('sink', sa.String(length=32), nullable=False),
    sa.Column('observation_id', sa.BigInteger().with_variant(sa.Integer(), 'sqlite'), autoincrement=False, nullable=False),
    sa.Column('state', sa.String(length=8), nullable=False),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('next_attempt_at', sa.Float(), nullable=False),
    sa.Column('error', sa.String(length=500), nullable=True),
    sa.Column('remote_id', sa.String(length=200), nullable=True),
    sa.Column('published_at', sa.Float(), nullable=True),
    sa.ForeignKeyConstraint(['observation_id'], ['observation.id'], name=op.f('fk_publish_outbox_observation_id')),
    sa.PrimaryKeyConstraint('sink', 'observation_id', name=op.f('pk_publish_outbox'))
    )
    op.create_index('ix_publish_outbox_unfinished', 'publish_outbox', ['sink', 'state', 'observation_id'], unique=False, sqlite_where=sa.text("state != 'done'"), postgresql_where=sa.text("state != 'done'"))

