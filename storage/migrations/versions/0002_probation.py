"""a promoted version's probation, beside its detector"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    with op.batch_alter_table("detectors", schema=None) as batch_op:
        batch_op.add_column(sa.Column("probation", sa.JSON(), nullable=True))


def downgrade() -> None:
    with op.batch_alter_table("detectors", schema=None) as batch_op:
        batch_op.drop_column("probation")
