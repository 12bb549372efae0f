"""The audit trail

Revision: 0004, after 0003
"""

import sqlalchemy as sa
from alembic import op

revision = '0004'
down_revision = '0003'
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        'audit_entry',
        sa.Column('number', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('at', sa.Float(), nullable=False),
        sa.Column('kind', sa.String(length=16), nullable=False),
        sa.Column('body', sa.LargeBinary(), nullable=False),
        sa.Column('digest', sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint('number', name=op.f('pk_audit_entry')),
        sqlite_with_rowid=False,
    )
    op.create_index(op.f('ix_audit_entry_kind_number'), 'audit_entry', ['kind', 'number'], unique=False)
    op.create_table(
        'audit_head',
        sa.Column('id', sa.Integer(), autoincrement=False, nullable=False),
        sa.Column('number', sa.BigInteger(), nullable=False),
        sa.Column('digest', sa.LargeBinary(length=32), nullable=False),
        sa.PrimaryKeyConstraint('id', name=op.f('pk_audit_head')),
        sqlite_with_rowid=False,
    )
    op.add_column('report', sa.Column('audit_entry', sa.BigInteger(), nullable=True))
    op.create_index(op.f('ix_report_audit_entry'), 'report', ['audit_entry'], unique=False)
    op.add_column('publish_outbox', sa.Column('audit_entry', sa.BigInteger(), nullable=True))
    op.create_index(op.f('ix_publish_outbox_audit_entry'), 'publish_outbox', ['audit_entry'], unique=False)
