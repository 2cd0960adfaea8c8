"""summary requests: studies about which models of others are asked, and what was said"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def _id() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="our own number of the row"
    )


def _time(name: str, comment: str, *, now: bool = False) -> sa.Column[sa.DateTime]:
    return sa.Column(
        name,
        sa.DateTime(timezone=True),
        nullable=not now,
        server_default=sa.text("clock_timestamp()") if now else None,
        comment=comment,
    )


def _text(name: str, comment: str, *, default: str | None = None) -> sa.Column[str]:
    return sa.Column(
        name,
        sa.Text(),
        nullable=default is None,
        server_default=None if default is None else sa.text(f"'{default}'"),
        comment=comment,
    )


def upgrade() -> None:
    op.create_table(
        "summary_requests",
        _id(),
        sa.Column("analysis_id", sa.BigInteger(), nullable=False, comment="see analyses.id"),
        _text("state", "waiting, asking, accepted, refused, late or overtaken", default="waiting"),
        _text("reason", "why the text of the template stays, if so", default=""),
        _time("created_at", "from when on its time runs", now=True),
        _time("rung_at", "when the queue was last told"),
        _text("owner", "the process that holds the lease"),
        sa.Column(
            "attempt",
            sa.Integer(),
            nullable=False,
            server_default=sa.text("0"),
            comment="how often a worker took it",
        ),
        sa.Column(
            "token",
            sa.BigInteger(),
            nullable=False,
            server_default=sa.text("0"),
            comment="raised by each claim; a stale holder changes nothing",
        ),
        _time("lease_until", "until when its worker is believed to live"),
        _text("opinion_reason", "why there is no second opinion, if one was wanted", default=""),
        _time("ended_at", "when it was accepted, or the template's stayed"),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name="fk_summary_requests_analysis_id"),
        sa.PrimaryKeyConstraint("id", name="pk_summary_requests"),
        comment="Studies about which models of others were to be asked, and what became of it",
    )
    op.create_index("ix_summary_requests_analysis_id", "summary_requests", ["analysis_id"])
    op.create_index(
        "ix_summary_requests_open",
        "summary_requests",
        ["created_at"],
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_table(
        "summary_exchanges",
        _id(),
        sa.Column("request_id", sa.BigInteger(), nullable=False, comment="see summary_requests.id"),
        _text("purpose", "text: a text; opinion: a second opinion", default="text"),
        _time("asked_at", "when the request was made", now=True),
        sa.Column("took_s", sa.Double(), nullable=True, comment="seconds until it ended"),
        sa.Column("request", JSONB(), nullable=True, comment="what was sent; pictures as SHA-256"),
        _text("answer", "the words of the model; empty where none came"),
        _text("fault", "what went wrong between us and the provider, if so"),
        _text("detail", "the same in words", default=""),
        sa.Column(
            "refusals",
            JSONB(),
            nullable=False,
            server_default=sa.text("'[]'"),
            comment="what of the answer was refused, and why",
        ),
        sa.ForeignKeyConstraint(
            ["request_id"], ["summary_requests.id"], name="fk_summary_exchanges_request_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_summary_exchanges"),
        comment="What models of others were asked and answered: facts and text only",
    )
    op.create_index("ix_summary_exchanges_request_id", "summary_exchanges", ["request_id"])
    op.create_index("ix_summary_exchanges_purpose_id", "summary_exchanges", ["purpose", "id"])


def downgrade() -> None:
    op.drop_table("summary_exchanges")
    op.drop_table("summary_requests")
