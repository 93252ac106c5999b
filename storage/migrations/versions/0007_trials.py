"""challengers on trial, and what they answer in shadow"""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

BIG = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "trials",
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(16), nullable=False),
        sa.Column("against", sa.String(16), nullable=False),
        sa.Column("mode", sa.String(8), nullable=False),
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("incident", sa.String(200), nullable=False),
        sa.Column("began_at", sa.Double(), nullable=False),
        sa.Column("start", BIG, nullable=False),
        sa.Column("change_position", BIG, nullable=True),
        sa.Column("standing", sa.JSON(), nullable=False),
        sa.Column("detector", sa.JSON(), nullable=False),
        sa.Column("figures", sa.JSON(), nullable=False),
        sa.Column("answered", BIG, nullable=False),
        sa.Column("agreed", BIG, nullable=False),
        sa.PrimaryKeyConstraint("model", name=op.f("pk_trials")),
    )
    op.create_table(
        "shadows",
        sa.Column("job_id", sa.String(36), nullable=False),
        sa.Column("model", sa.String(64), nullable=False),
        sa.Column("version", sa.String(16), nullable=False),
        sa.Column("rows", BIG, nullable=False),
        sa.Column("agreed", BIG, nullable=False),
        sa.Column("answers", sa.Text(), nullable=False),
        sa.Column("created_at", sa.Double(), nullable=False),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_shadows")),
    )


def downgrade() -> None:
    op.drop_table("shadows")
    op.drop_table("trials")
