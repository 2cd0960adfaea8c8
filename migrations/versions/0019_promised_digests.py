"""promised digests: found without reading every instance, before a file is deleted"""

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Over ten million rows an index takes longer than a statement otherwise may.
    op.execute("set local statement_timeout = 0")
    op.create_index(
        "ix_instances_promised", "instances", ["digest"], postgresql_where=sa.text("committed_at IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_instances_promised", "instances")
