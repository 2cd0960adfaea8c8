"""storage commitment of what was received: transactions of peers, and the promise to keep an instance"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

VIEW = """
create view storage_commitments as
select
    t.requested_at,
    t.peer_ae_title,
    t.peer_host,
    t.transaction_uid,
    t.state,
    t.asked_count,
    t.failed_count,
    t.attempts,
    t.last_status,
    t.next_try_at,
    t.decided_at,
    t.ended_at
from commitment_transactions t
"""
VIEW_COMMENT = "What peers asked us to commit, and whether they were told"
COLUMN_COMMENTS = {
    "requested_at": "when it was answered 0x0000",
    "peer_ae_title": "calling AE title of whoever asked",
    "peer_host": "where we report",
    "transaction_uid": "(0008,1195)",
    "state": "waiting, reported or not_reported",
    "asked_count": "how many instances it asked about",
    "failed_count": "how many of them are not committed",
    "attempts": "how often the report was tried",
    "last_status": "what became of the last try, in words",
    "next_try_at": "not before, where it waits",
    "decided_at": "when it was decided what is committed",
    "ended_at": "when it was reported or given up",
}


def _text(name: str, comment: str, default: str | None = None) -> sa.Column[str]:
    server_default = None if default is None else sa.text(default)
    return sa.Column(name, sa.Text(), nullable=False, server_default=server_default, comment=comment)


def _count(name: str, comment: str) -> sa.Column[int]:
    return sa.Column(name, sa.Integer(), nullable=False, server_default=sa.text("0"), comment=comment)


def upgrade() -> None:
    op.add_column(
        "instances",
        sa.Column(
            "committed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when we promised a peer to keep it: its bytes are never deleted",
        ),
    )
    op.add_column(
        "quarantined",
        _text("sop_instance_uid", "SOP Instance UID of the C-STORE request; empty if unknown", default="''"),
    )
    op.create_index(
        "ix_quarantined_sop_instance_uid",
        "quarantined",
        ["sop_instance_uid"],
        postgresql_where=sa.text("sop_instance_uid <> ''"),
    )
    op.create_table(
        "commitment_transactions",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="our own number of the row",
        ),
        _text("transaction_uid", "(0008,1195)"),
        _text("peer_ae_title", "calling AE title of whoever asked"),
        _text("called_ae_title", "the AE title of ours that it asked; we report as it"),
        _text("peer_host", "where we report, as configured when it asked"),
        _text("digest", "SHA-256 of what was asked about: the same again is no other"),
        sa.Column(
            "asked",
            JSONB(),
            nullable=False,
            comment="SOP class and instance of each that was asked about; empty once it has ended",
        ),
        sa.Column(
            "failed",
            JSONB(),
            nullable=False,
            server_default=sa.text("'[]'"),
            comment="class, instance and Failure Reason (0008,1197) of what is not committed; once it has "
            "ended, the first 20",
        ),
        sa.Column(
            "asked_count", sa.Integer(), nullable=False, comment="how many instances it asked about"
        ),
        _count("failed_count", "how many of them are not committed"),
        sa.Column(
            "state",
            sa.Text(),
            nullable=False,
            server_default=sa.text("'waiting'"),
            comment="waiting, reported or not_reported",
        ),
        sa.Column(
            "requested_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="when it was answered 0x0000",
        ),
        sa.Column(
            "decided_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it was decided what is committed",
        ),
        _count("attempts", "how often the report was tried"),
        sa.Column(
            "next_try_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="not before",
        ),
        sa.Column(
            "last_status",
            sa.Text(),
            nullable=False,
            server_default=sa.text("''"),
            comment="what became of the last try, in words",
        ),
        sa.Column(
            "ended_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it was reported or given up",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_commitment_transactions"),
        sa.UniqueConstraint(
            "transaction_uid",
            "peer_ae_title",
            "digest",
            name="uq_commitment_transactions_transaction_uid_peer_ae_title_digest",
        ),
        comment="Storage commitments that peers asked of us: the newest 10,000 and all that wait",
    )
    op.create_index(
        "ix_commitment_transactions_open",
        "commitment_transactions",
        ["next_try_at"],
        postgresql_where=sa.text("state = 'waiting'"),
    )
    op.execute(VIEW)
    op.execute(f"comment on view storage_commitments is '{VIEW_COMMENT}'")
    for column, words in COLUMN_COMMENTS.items():
        op.execute(f"comment on column storage_commitments.{column} is '{words}'")


def downgrade() -> None:
    op.execute("drop view storage_commitments")
    op.drop_table("commitment_transactions")
    op.drop_index("ix_quarantined_sop_instance_uid", "quarantined")
    op.drop_column("quarantined", "sop_instance_uid")
    op.drop_column("instances", "committed_at")
