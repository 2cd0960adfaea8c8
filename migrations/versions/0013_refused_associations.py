"""connections and associations that were refused, counted by cause"""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None

VIEW = """
create view refused_associations as
select
    r.last_at,
    r.times,
    r.cause,
    r.peer_ae_title as sender_ae_title,
    r.peer_host as sender_host,
    r.called_ae_title,
    r.first_at
from refusals r
"""
VIEW_COMMENT = "Connections and associations that were refused before anything was sent, by cause"
COLUMN_COMMENTS = {
    "last_at": "when it was last refused",
    "times": "how often it was refused",
    "cause": "why it was refused, in words",
    "sender_ae_title": "calling AE title; empty where none was sent",
    "sender_host": "network address of the sender",
    "called_ae_title": "the AE title that it called; empty where none was sent",
    "first_at": "when it was first refused",
}


def upgrade() -> None:
    op.create_table(
        "refusals",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="our own number of the row",
        ),
        sa.Column("cause", sa.Text(), nullable=False, comment="why it was refused, in words"),
        sa.Column("peer_host", sa.Text(), nullable=False, comment="network address of the sender"),
        sa.Column(
            "peer_ae_title",
            sa.Text(),
            nullable=False,
            comment="calling AE title; empty where none was sent",
        ),
        sa.Column(
            "called_ae_title",
            sa.Text(),
            nullable=False,
            comment="the AE title that it called; empty where none was sent",
        ),
        sa.Column(
            "times",
            sa.BigInteger(),
            nullable=False,
            server_default=sa.text("1"),
            comment="how often it was refused",
        ),
        sa.Column(
            "first_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="when it was first refused",
        ),
        sa.Column(
            "last_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="when it was last refused",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_refusals"),
        comment="Connections and associations that were refused, by cause and sender",
    )
    op.create_index(
        "uq_refusals_what",
        "refusals",
        ["cause", "peer_host", "peer_ae_title", "called_ae_title"],
        unique=True,
    )
    op.execute(VIEW)
    op.execute(f"comment on view refused_associations is '{VIEW_COMMENT}'")
    for column, words in COLUMN_COMMENTS.items():
        op.execute(f"comment on column refused_associations.{column} is '{words}'")


def downgrade() -> None:
    op.execute("drop view refused_associations")
    op.drop_table("refusals")
