"""operations: processes that run, and indexes for what is asked while they do"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None


def _text(name: str, comment: str, *, default: str | None = None) -> sa.Column[str]:
    server_default = None if default is None else sa.text(f"'{default}'")
    return sa.Column(name, sa.Text(), nullable=False, server_default=server_default, comment=comment)


def _now(name: str, comment: str) -> sa.Column[sa.DateTime]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=False,
        server_default=sa.text("clock_timestamp()"),
        comment=comment,
    )


def upgrade() -> None:
    # Over ten million rows an index takes longer than a statement otherwise may.
    op.execute("set local statement_timeout = 0")
    op.create_table(
        "processes",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="our own number of the row",
        ),
        _text("host", "host name, in a container that of the container"),
        _text("role", "listen (told by its ingester), analysis, delivery or summary"),
        sa.Column("pid", sa.Integer(), nullable=False, comment="process id on its host"),
        _text("software_version", "of neurotriage"),
        _now("started_at", "when it first told"),
        _now("last_seen_at", "when it last told; older than a minute: it is gone"),
        _text("device", "cpu or cuda; empty where it runs no model, or not yet", default=""),
        sa.Column(
            "models",
            JSONB(),
            nullable=False,
            server_default=sa.text("'[]'"),
            comment="name, version and engine of each loaded model",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_processes"),
        sa.UniqueConstraint("host", "role", "pid", name="uq_processes_host_role_pid"),
        comment="Processes that run: each renews its row every 10 s, and deletes it when it ends",
    )
    op.create_index(
        "ix_instances_received_at",
        "instances",
        ["received_at"],
        postgresql_using="brin",
        postgresql_with={"autosummarize": "on"},
    )
    op.create_index("ix_quarantined_quarantined_at", "quarantined", ["quarantined_at"])
    op.create_index(
        "ix_revisions_ended_at",
        "revisions",
        ["ended_at"],
        postgresql_where=sa.text("ended_at is not null"),
    )
    op.create_index(
        "ix_deliveries_stored_at",
        "deliveries",
        ["stored_at"],
        postgresql_where=sa.text("stored_at is not null"),
    )
    op.create_index(
        "ix_deliveries_open",
        "deliveries",
        ["destination"],
        postgresql_where=sa.text("state in ('held', 'waiting', 'sending') or alarmed_at is not null"),
    )


def downgrade() -> None:
    op.drop_index("ix_deliveries_open", "deliveries")
    op.drop_index("ix_deliveries_stored_at", "deliveries")
    op.drop_index("ix_revisions_ended_at", "revisions")
    op.drop_index("ix_quarantined_quarantined_at", "quarantined")
    op.drop_index("ix_instances_received_at", "instances")
    op.drop_table("processes")
