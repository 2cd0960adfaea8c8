"""what a destination says in its own words, who was asked to commit, and who leaves queries unanswered"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "deliveries",
        sa.Column(
            "comment",
            sa.Text,
            nullable=False,
            server_default="",
            comment="the destination's own words with its last answer; may quote a header",
        ),
    )
    op.add_column(
        "deliveries",
        sa.Column(
            "commitment_ae_title",
            sa.Text,
            comment="AE title that was asked for storage commitment, the only one whose report counts",
        ),
    )
    op.add_column(
        "destination_leases",
        sa.Column(
            "no_queries_until",
            sa.DateTime(timezone=True),
            comment="until when it is asked nothing, because it left a query unanswered",
        ),
    )


def downgrade() -> None:
    op.drop_column("destination_leases", "no_queries_until")
    op.drop_column("deliveries", "commitment_ae_title")
    op.drop_column("deliveries", "comment")
