"""alarms: what was found and told"""

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None


def _id() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="our own number of the row"
    )


def _text(name: str, comment: str, *, default: str | None = None) -> sa.Column[str]:
    server_default = None if default is None else sa.text(f"'{default}'")
    return sa.Column(name, sa.Text(), nullable=False, server_default=server_default, comment=comment)


def _time(name: str, comment: str, *, now: bool = False) -> sa.Column[sa.DateTime]:
    server_default = sa.text("clock_timestamp()") if now else None
    return sa.Column(
        name, sa.DateTime(timezone=True), nullable=not now, server_default=server_default, comment=comment
    )


def upgrade() -> None:
    op.create_table(
        "alarms",
        _id(),
        _text("code", "kind of alarm, see docs/admin.md"),
        _text("subject", "class, role, process or destination; empty: the installation"),
        _time("since", "since when, as tables or disk say it, if they do"),
        _text("text", "a sentence, as last found"),
        sa.Column(
            "count",
            sa.Integer(),
            comment="of studies, objects or files as last found; empty where nothing is counted",
        ),
        _time("found_at", "when it was first found", now=True),
        _time("last_found_at", "when it was last found", now=True),
        _time(
            "notified_at",
            "when its begin was last given to the channels; each answer stands in alarm_notices",
        ),
        _time("acknowledged_at", "when somebody took note of it"),
        _text("acknowledged_by", "who, as user@host", default=""),
        _time("acknowledged_until", "for how long; empty: until it ends"),
        _time("ended_at", "when it was found to be gone"),
        _time("told_end_at", "when its end was given to the channels"),
        sa.PrimaryKeyConstraint("id", name="pk_alarms"),
        comment="Alarms, one row from when a cause was found to when it was gone; rows stay",
    )
    op.create_index(
        "uq_alarms_standing",
        "alarms",
        ["code", "subject"],
        unique=True,
        postgresql_where=sa.text("ended_at is null"),
    )
    op.create_table(
        "alarm_notices",
        _id(),
        sa.Column("alarm_id", sa.BigInteger(), nullable=False, comment="see alarms.id"),
        _text("channel", "mail, webhook or command"),
        sa.Column("number", sa.Integer(), nullable=False, comment="of this alarm and channel, from 1"),
        _text("event", "began, again or ended"),
        sa.Column(
            "tries", sa.Integer(), nullable=False, server_default=sa.text("0"), comment="how often it failed"
        ),
        _time("next_try_at", "not tried before", now=True),
        _text("last_error", "why the last try failed", default=""),
        _time("sent_at", "when the channel took it"),
        sa.Column(
            "given_up",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="tried often enough, or its channel is configured no more",
        ),
        sa.PrimaryKeyConstraint("id", name="pk_alarm_notices"),
        sa.UniqueConstraint("alarm_id", "channel", "number", name="uq_alarm_notices_alarm_id_channel_number"),
        sa.ForeignKeyConstraint(
            ["alarm_id"], ["alarms.id"], name="fk_alarm_notices_alarm_id", ondelete="CASCADE"
        ),
        comment="What is told of each alarm by each channel, and whether it got there",
    )
    op.create_index(
        "ix_alarm_notices_open",
        "alarm_notices",
        ["channel", "id"],
        postgresql_where=sa.text("sent_at is null and not given_up"),
    )
    _roles_of_processes("listen (told by its ingester), analysis, delivery, summary or watch")


def downgrade() -> None:
    _roles_of_processes("listen (told by its ingester), analysis, delivery or summary")
    op.drop_table("alarm_notices")
    op.drop_table("alarms")


def _roles_of_processes(comment: str) -> None:
    op.alter_column("processes", "role", existing_type=sa.Text(), existing_nullable=False, comment=comment)
