"""PostgreSQL sweeps up behind the queue by what it does, not by how much it has ever done"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# Each job leaves two dead rows, and every look for what runs or waits steps over their entries in the indexes. A fifth of
# the table, which is when autovacuum comes by default, is two million of them where ten million jobs are kept.
EVERY = 100_000


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute(f"ALTER TABLE jobs SET (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = {EVERY})")


def downgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        op.execute("ALTER TABLE jobs RESET (autovacuum_vacuum_scale_factor, autovacuum_vacuum_threshold)")
