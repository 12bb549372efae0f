"""What was refused for want of a record or a statement is kept for a while, as the device sealed it

Revision: 0007, after 0006
"""

import sqlalchemy as sa
from alembic import op

revision = '0007'
down_revision = '0006'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('quarantine',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('seq', sa.BigInteger(), autoincrement=False, nullable=False),
    sa.Column('kind', sa.Integer(), nullable=False),
    sa.Column('window', sa.BigInteger(), nullable=False),
    sa.Column('sealed', sa.LargeBinary(length=512), nullable=False),
    sa.Column('size', sa.Integer(), nullable=False),
    sa.Column('reason', sa.String(length=32), nullable=False),
    sa.Column('at', sa.Float(), nullable=False),
    sa.PrimaryKeyConstraint('device_id', 'seq', name=op.f('pk_quarantine')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_quarantine_at_size'), 'quarantine', ['at', 'size'], unique=False)
