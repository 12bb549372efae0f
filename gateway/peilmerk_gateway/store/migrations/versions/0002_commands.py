"""Commands to devices

Revision: 0002, after 0001
"""

import sqlalchemy as sa
from alembic import op

revision = '0002'
down_revision = '0001'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('command',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('counter', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('expiry', sa.BigInteger(), nullable=False),
    sa.Column('verb', sa.Integer(), nullable=False),
    sa.Column('argument', sa.LargeBinary(length=128), nullable=False),
    sa.Column('state', sa.String(length=12), nullable=False),
    sa.Column('outcome', sa.Integer(), nullable=True),
    sa.Column('detail', sa.BigInteger(), nullable=True),
    sa.Column('attempts', sa.Integer(), nullable=False),
    sa.Column('created_at', sa.Float(), nullable=False),
    sa.Column('sent_at', sa.Float(), nullable=True),
    sa.Column('answered_at', sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint('device_id', 'counter', name=op.f('pk_command')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_command_state'), 'command', ['state'], unique=False)
    op.create_table('command_counter',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('command', sa.BigInteger(), nullable=False),
    sa.Column('beacon', sa.BigInteger(), nullable=False),
    sa.PrimaryKeyConstraint('device_id', name=op.f('pk_command_counter')),
    sqlite_with_rowid=False
    )
