"""corrections: whose images they are, which were rejected, and what was withdrawn for it"""

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# An analysis of a withdrawn revision says nothing of its study any more. As Postgres writes a view.
JOINED = "(a.revision_id = r.id)"
JOINED_UNLESS_WITHDRAWN = "((a.revision_id = r.id) AND (r.state <> 'withdrawn'::text))"

COMMENTS = (
    (
        "instances",
        "counts",
        sa.Boolean(),
        "false: another instance with the same SOP Instance UID and other bytes came first",
        "false: another stands for its SOP Instance UID, or it was removed",
    ),
    (
        "revisions",
        "state",
        sa.Text(),
        "ready, analysing, analysed, unchanged or failed",
        "ready, analysing, analysed, unchanged, failed or withdrawn",
    ),
    (
        "revisions",
        "superseded",
        sa.Boolean(),
        "a newer revision was analysed",
        "a newer revision was analysed, or it was withdrawn",
    ),
    (
        "studies",
        "patient_id",
        sa.Text(),
        "(0010,0020) of the first instance; empty where absent",
        "(0010,0020) of the first instance, or as corrected since; empty where absent",
    ),
)


def _id() -> sa.Column[int]:
    return sa.Column(
        "id", sa.BigInteger(), sa.Identity(always=True), nullable=False, comment="our own number of the row"
    )


def _text(name: str, comment: str, *, null: bool = False) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=null, comment=comment)


def _at(comment: str) -> sa.Column[object]:
    return sa.Column(
        "at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False, comment=comment
    )


def _replace_in_results(old: str, new: str) -> None:
    """Keeps whatever columns the view has."""
    statement = sa.text("select pg_get_viewdef('study_results'::regclass)")
    definition = op.get_bind().execute(statement).scalar_one()
    if definition.count(old) != 1:
        raise RuntimeError(f"the view study_results does not say {old!r} once")
    op.execute(f"create or replace view study_results as {definition.replace(old, new)}")


def upgrade() -> None:
    op.create_table(
        "identity_corrections",
        _id(),
        sa.Column("study_id", sa.BigInteger(), nullable=False, comment="see studies.id"),
        _at("when it was corrected"),
        _text("made_by", "the command with its user, or the HL7 file"),
        _text("reason", "why, in the words of whoever corrected it"),
        _text("patient_id", "(0010,0020) of results since then"),
        _text("issuer_of_patient_id", "(0010,0021); empty: none"),
        _text("patient_name", "(0010,0010); empty: none"),
        _text("birth_date", "(0010,0030); empty: none"),
        _text("sex", "(0010,0040); empty: none"),
        sa.ForeignKeyConstraint(
            ["study_id"], ["studies.id"], name="fk_identity_corrections_study_id"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_identity_corrections"),
        comment="By command or message: whose images these are, whatever their headers say",
    )
    op.create_index("ix_identity_corrections_study_id", "identity_corrections", ["study_id"])
    op.create_table(
        "rejected_instances",
        _id(),
        _at("when the note came"),
        _text("study_instance_uid", "(0020,000D)"),
        _text("sop_instance_uid", "(0008,0018) of the rejected instance, which need not have come"),
        _text("patient_key", "of whoever it was rejected for; tells patients apart and names nobody"),
        _text("title", "113001, 113037 or 113038 of DCM, or command"),
        _text("note_sop_instance_uid", "(0008,0018) of the rejection note; empty for a command"),
        sa.PrimaryKeyConstraint("id", name="pk_rejected_instances"),
        sa.UniqueConstraint(
            "study_instance_uid",
            "sop_instance_uid",
            "patient_key",
            name="uq_rejected_instances_what",
        ),
        comment="Instances that a rejection note (IHE IOCM) or a command took out of their study",
    )
    op.add_column(
        "instances",
        sa.Column(
            "corrected_by", sa.BigInteger(), nullable=True, comment="the correction that says whose it is"
        ),
    )
    op.create_foreign_key(
        "fk_instances_corrected_by", "instances", "identity_corrections", ["corrected_by"], ["id"]
    )
    op.add_column(
        "instances",
        _text(
            "removed",
            "why it is no part of the study: replaced, rejected or, of a rejection note, note",
            null=True,
        ),
    )
    op.add_column(
        "result_objects",
        sa.Column(
            "withdrawn_by",
            sa.BigInteger(),
            nullable=True,
            comment="the analysis that withdrew it and stands for it",
        ),
    )
    op.create_foreign_key(
        "fk_result_objects_withdrawn_by", "result_objects", "analyses", ["withdrawn_by"], ["id"]
    )
    op.add_column("revisions", _text("conflict", "why it must not be analysed, if so", null=True))
    op.execute(
        "update revisions r set conflict = s.conflict from studies s where s.id = r.study_id and "
        "(r.state in ('ready', 'analysing') or"
        " r.number = (select max(number) from revisions where study_id = s.id))"
    )
    op.drop_column("studies", "conflict")
    for table, column, of_type, old, new in COMMENTS:
        op.alter_column(table, column, existing_type=of_type, comment=new, existing_comment=old)
    _replace_in_results(JOINED, JOINED_UNLESS_WITHDRAWN)


def downgrade() -> None:
    _replace_in_results(JOINED_UNLESS_WITHDRAWN, JOINED)
    for table, column, of_type, old, new in COMMENTS:
        op.alter_column(table, column, existing_type=of_type, comment=old, existing_comment=new)
    op.add_column("studies", _text("conflict", "why this study must not be analysed, if so", null=True))
    op.execute(
        "update studies s set conflict = r.conflict from revisions r where s.id = r.study_id and "
        "r.number = (select max(number) from revisions where study_id = s.id)"
    )
    op.drop_column("revisions", "conflict")
    # What was withdrawn must not come back: an older version knows it as replaced and ended.
    # A study without another end must have one.
    op.execute(
        "update revisions r set state = case when r.number = (select max(number) from revisions n where"
        " n.study_id = r.study_id) then 'failed' else 'unchanged' end where state = 'withdrawn'"
    )
    op.drop_column("result_objects", "withdrawn_by")
    op.drop_column("instances", "removed")
    op.drop_column("instances", "corrected_by")
    op.drop_table("rejected_instances")
    op.drop_table("identity_corrections")
