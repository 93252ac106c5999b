"""versions whose files are no longer kept"""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

INDEXES = (
    ("ix_versions_kept", ["model", "created_at"], "pruned_at IS NULL"),
    ("ix_versions_leaving", ["model", "number"], "pruned_at IS NOT NULL AND gone_at IS NULL"),
)


def upgrade() -> None:
    op.add_column("versions", sa.Column("pruned_at", sa.Double(), nullable=True))
    op.add_column("versions", sa.Column("gone_at", sa.Double(), nullable=True))
    for name, columns, where in INDEXES:
        op.create_index(name, "versions", columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def downgrade() -> None:
    for name, _, _ in INDEXES:
        op.drop_index(name, table_name="versions")
    with op.batch_alter_table("versions", schema=None) as batch_op:
        batch_op.drop_column("gone_at")
        batch_op.drop_column("pruned_at")
