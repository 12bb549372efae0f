"""Every row that a decision wrote carries its entry of the audit trail

Revision: 0005, after 0004
"""

import sqlalchemy as sa
from alembic import op

revision = '0005'
down_revision = '0004'
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ('observation', 'ledger', 'attestation', 'refusal'):
        op.add_column(table, sa.Column('audit_entry', sa.BigInteger(), nullable=True))
    op.add_column('audit_head', sa.Column('form', sa.Integer(), nullable=True))
    # A key cannot be changed in place on SQLite: made anew, and filled.
    op.execute('CREATE TABLE withheld_before AS SELECT datastream, window_start, reason FROM withheld')
    op.drop_table('withheld')
    op.create_table(
        'withheld',
        sa.Column('datastream', sa.String(length=200), nullable=False),
        sa.Column('window_start', sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column('device_id', sa.String(length=16), nullable=False),
        sa.Column('reason', sa.String(length=32), nullable=False),
        sa.Column('audit_entry', sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint('datastream', 'window_start', 'device_id', name=op.f('pk_withheld')),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO withheld (datastream, window_start, device_id, reason)"
        " SELECT datastream, window_start, '', reason FROM withheld_before"
    )
    op.drop_table('withheld_before')
