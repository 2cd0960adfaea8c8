"""quarantine says what, where and how large; an instance says whether it names us as its maker"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

OWN_RESULT = "made by us and sent back: never opens a study"
OWN_RESULT_NOW = "a result of ours by our own records, sent back: never opens a study"
QUARANTINED = "Received files that could not be parsed; the bytes are kept"
QUARANTINED_NOW = "What was received and could not be used; the bytes are kept"
LAST = "newest instance that opened the study"
LAST_NOW = "when its newest instance came, by the clock of this database"
REASON = "why it could not be parsed, in words"
REASON_NOW = "why it could not be used, in words"


def upgrade() -> None:
    op.add_column(
        "quarantined",
        sa.Column(
            "kind",
            sa.Text(),
            server_default=sa.text("'instance'"),
            nullable=False,
            comment="instance; report: of a storage commitment; note: of refused presentation contexts",
        ),
    )
    op.add_column(
        "quarantined",
        sa.Column("path", sa.Text(), comment="where its bytes lie, below the storage root"),
    )
    op.execute("update quarantined set path = 'quarantine/' || name")
    op.alter_column("quarantined", "path", nullable=False)
    op.add_column(
        "quarantined",
        sa.Column(
            "size_bytes",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="of what was received; 0 where not known",
        ),
    )
    op.add_column(
        "quarantined",
        sa.Column(
            "quarantined_at",
            sa.DateTime(timezone=True),
            server_default=sa.func.now(),
            nullable=False,
            comment="when it was set aside",
        ),
    )
    op.execute("update quarantined set quarantined_at = received_at")
    op.add_column(
        "instances",
        sa.Column(
            "claims_ours",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="names neurotriage as its maker, which anybody can write",
        ),
    )
    op.execute("update instances set claims_ours = own_result")
    op.create_index(
        "ix_studies_open", "studies", ["last_received_at"], postgresql_where=sa.text("state = 'open'")
    )
    _say(OWN_RESULT_NOW, QUARANTINED_NOW, REASON_NOW, LAST_NOW)


def downgrade() -> None:
    op.drop_index("ix_studies_open", table_name="studies")
    op.drop_column("instances", "claims_ours")
    for column in ("quarantined_at", "size_bytes", "path", "kind"):
        op.drop_column("quarantined", column)
    _say(OWN_RESULT, QUARANTINED, REASON, LAST)


def _say(own_result: str, quarantined: str, reason: str, last: str) -> None:
    op.execute(f"comment on column instances.own_result is '{own_result}'")
    op.execute(f"comment on table quarantined is '{quarantined}'")
    op.execute(f"comment on column quarantined.reason is '{reason}'")
    op.execute(f"comment on column studies.last_received_at is '{last}'")
