"""pauses: what rests because somebody said so, and results that are held"""

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None

_WAITING = "ARRAY['waiting'::text, 'sending'::text]"
_WAITING_OR_HELD = "ARRAY['held'::text, 'waiting'::text, 'sending'::text]"
# What was cancelled says nothing of a study of which an older revision does.
_NEWEST = "ORDER BY r0.number DESC"
_NEWEST_THAT_SAYS = "ORDER BY (r0.state = 'cancelled'::text), r0.number DESC"


def _replace_in_results(old: str, new: str) -> None:
    """Keeps whatever columns the view has."""
    statement = sa.text("select pg_get_viewdef('study_results'::regclass)")
    definition = op.get_bind().execute(statement).scalar_one()
    if definition.count(old) != 1:
        raise RuntimeError(f"the view study_results does not say {old!r} once")
    op.execute(f"create or replace view study_results as {definition.replace(old, new)}")


def _comment(table: str, new: str, old: str) -> None:
    op.alter_column(table, "state", comment=new, existing_type=sa.Text(), existing_comment=old)


_OF_DELIVERIES = "waiting, sending, stored, refused or given_up"
_OF_REVISIONS = "ready, analysing, analysed, unchanged, failed or withdrawn"


def upgrade() -> None:
    op.create_table(
        "pauses",
        sa.Column(
            "name",
            sa.Text(),
            nullable=False,
            comment="analysis, or the name of a destination in the configuration",
        ),
        sa.Column(
            "since",
            sa.DateTime(timezone=True),
            server_default=sa.text("clock_timestamp()"),
            nullable=False,
            comment="when it was paused",
        ),
        sa.Column(
            "until",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when it goes on by itself; empty: when it is told to",
        ),
        sa.Column("made_by", sa.Text(), nullable=False, comment="the command with its user"),
        sa.Column(
            "reason",
            sa.Text(),
            server_default=sa.text("''"),
            nullable=False,
            comment="why, in the words of whoever did it",
        ),
        sa.PrimaryKeyConstraint("name", name="pk_pauses"),
        comment="What rests because somebody said so",
    )
    _comment("deliveries", f"held, {_OF_DELIVERIES}", _OF_DELIVERIES)
    _comment("revisions", _OF_REVISIONS.replace(" or ", ", cancelled or "), _OF_REVISIONS)
    _replace_in_results(_WAITING, _WAITING_OR_HELD)
    _replace_in_results(_NEWEST, _NEWEST_THAT_SAYS)


def downgrade() -> None:
    """What is held is given up, what was cancelled failed: an older release knows neither."""
    op.execute(
        "update deliveries set state = 'given_up', last_status = 'held when an older release was installed' "
        "where state = 'held'"
    )
    op.execute("update revisions set state = 'failed' where state = 'cancelled'")
    _replace_in_results(_NEWEST_THAT_SAYS, _NEWEST)
    _replace_in_results(_WAITING_OR_HELD, _WAITING)
    _comment("deliveries", _OF_DELIVERIES, f"held, {_OF_DELIVERIES}")
    _comment("revisions", _OF_REVISIONS, _OF_REVISIONS.replace(" or ", ", cancelled or "))
    op.drop_table("pauses")
