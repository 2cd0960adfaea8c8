"""completeness: where images lie, on which association they came, and how that ended"""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None



def upgrade() -> None:
    for column in _columns():
        op.add_column("instances", column)
    op.create_table(
        "associations",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="our own number of the row",
        ),
        sa.Column("association_id", sa.Text(), nullable=False, comment="our id of the association"),
        sa.Column("peer_ae_title", sa.Text(), nullable=False, comment="calling AE title of the sender"),
        sa.Column("peer_host", sa.Text(), nullable=False, comment="network address of the sender"),
        sa.Column(
            "released",
            sa.Boolean(),
            nullable=False,
            comment="true: by A-RELEASE; false: aborted, lost or closed by us",
        ),
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when it ended, by the clock of the listener",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_associations"),
        sa.UniqueConstraint("association_id", name="uq_associations_association_id"),
        comment="How associations ended: the newest 20,000",
    )


def downgrade() -> None:
    op.drop_table("associations")
    for column in reversed(_columns()):
        op.drop_column("instances", column.name)


def _columns() -> tuple[sa.Column[Any], ...]:
    return (
        sa.Column(
            "association_id",
            sa.Text(),
            nullable=False,
            server_default=sa.text("''"),
            comment="our id of the association on which it came; empty if unknown",
        ),
        sa.Column(
            "grid",
            sa.Text(),
            nullable=False,
            server_default=sa.text("''"),
            comment="normal and matrix of its slices; empty without a position",
        ),
        sa.Column(
            "position_mm",
            sa.Double(),
            nullable=True,
            comment="of its lowest frame along the normal, from (0020,0032) and (0020,0037)",
        ),
        sa.Column(
            "extent_mm",
            sa.Double(),
            nullable=False,
            server_default=sa.text("0"),
            comment="from its lowest frame to its highest; 0 if single-frame",
        ),
        sa.Column(
            "frames", sa.Integer(), nullable=False, server_default=sa.text("1"), comment="(0028,0008)"
        ),
        sa.Column("acquisition_number", sa.Integer(), nullable=True, comment="(0020,0012)"),
        sa.Column(
            "images_stated",
            sa.Integer(),
            nullable=True,
            comment="(0020,1002), or (0020,9163): how many images its own header speaks of",
        ),
    )
