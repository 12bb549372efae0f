"""What hosts paused and withdrew; rows of an entry are found when some of them are deleted

Revision: 0006, after 0005
"""

import sqlalchemy as sa
from alembic import op

revision = '0006'
down_revision = '0005'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table('halt',
    sa.Column('device_id', sa.String(length=16), nullable=False),
    sa.Column('kind', sa.String(length=9), nullable=False),
    sa.Column('since', sa.Float(), nullable=False),
    sa.Column('until', sa.Float(), nullable=True),
    sa.PrimaryKeyConstraint('device_id', 'kind', 'since', name=op.f('pk_halt')),
    sqlite_with_rowid=False
    )
    op.create_index(op.f('ix_observation_audit_entry'), 'observation', ['audit_entry'], unique=False)
    op.create_index(op.f('ix_observation_device_id'), 'observation', ['device_id'], unique=False)
    op.create_index(op.f('ix_withheld_audit_entry'), 'withheld', ['audit_entry'], unique=False)
