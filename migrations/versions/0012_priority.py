"""priority classes: what is analysed and sent first, and why"""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

ANALYSIS_QUEUE = """
create view analysis_queue as
select
    s.study_instance_uid,
    s.accession_number,
    r.number as revision,
    r.state,
    s.priority,
    s.priority_basis,
    s.priority_evidence,
    r.waiting_since,
    r.passed_over,
    r.attempt as attempts
from revisions r
join studies s on s.id = r.study_id
where r.state in ('ready', 'analysing')
"""
VIEW_COMMENT = "One row per study that waits for an analysis worker or is with one, and its priority class"
VIEW_COLUMN_COMMENTS = {
    "study_instance_uid": "(0020,000D)",
    "accession_number": "(0008,0050)",
    "revision": "which revision of the study it is",
    "state": "ready or analysing",
    "priority": "urgent, routine or backlog",
    "priority_basis": "what decided: command, peer, called, request, location, again, repeated or nothing",
    "priority_evidence": "the same in words; may quote a header",
    "waiting_since": "since when it waits; anew after a failed attempt",
    "passed_over": "how often a more urgent one was taken while it was the oldest of its class",
    "attempts": "how often a worker took it",
}


def upgrade() -> None:
    for name, default, comment in (
        ("priority", "'routine'", "what is served first: urgent, routine or backlog"),
        (
            "priority_basis",
            "''",
            "what decided: command, peer, called, request, location, again, repeated or nothing",
        ),
        ("priority_evidence", "''", "the same in words; may quote a header"),
    ):
        column = sa.Column(
            name, sa.Text(), nullable=False, server_default=sa.text(default), comment=comment
        )
        op.add_column("studies", column)
    op.add_column(
        "revisions",
        sa.Column(
            "waiting_since",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="since when it waits for a worker; anew after a failed attempt",
        ),
    )
    op.add_column(
        "revisions",
        sa.Column(
            "passed_over",
            sa.Integer(),
            nullable=False,
            server_default=sa.text("0"),
            comment="how often a more urgent one was taken while it was the oldest of its class",
        ),
    )
    op.execute("update revisions set waiting_since = ready_at where state in ('ready', 'analysing')")
    op.execute(ANALYSIS_QUEUE)
    op.execute(f"comment on view analysis_queue is '{VIEW_COMMENT}'")
    for column, words in VIEW_COLUMN_COMMENTS.items():
        op.execute(f"comment on column analysis_queue.{column} is '{words}'")


def downgrade() -> None:
    op.execute("drop view analysis_queue")
    for column in ("passed_over", "waiting_since"):
        op.drop_column("revisions", column)
    for column in ("priority_evidence", "priority_basis", "priority"):
        op.drop_column("studies", column)
