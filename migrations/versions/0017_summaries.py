"""summaries: the text about each analysis, and a view of those that stand"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_WORDS = """
    (select string_agg(sentence ->> 'text', ' ' order by place)
        from jsonb_array_elements(t.sentences) with ordinality told(sentence, place)
        where sentence ->> 'section' = '{section}') as {section}"""
_SECTIONS = ("findings", "impression", "limits", "plain")
VIEW = """
create view study_texts as
select
    s.study_instance_uid,
    s.accession_number,
    r.number as revision,
    t.language,
    t.origin,
    t.author,{words},
    t.made_at
from summaries t
join analyses a on a.id = t.analysis_id
join revisions r on r.id = a.revision_id
join studies s on s.id = r.study_id
where r.state <> 'withdrawn' and not r.superseded
    and t.id = (select max(other.id) from summaries other where other.analysis_id = t.analysis_id)
"""
VIEW_COMMENT = "The text that stands about each study"
COLUMN_COMMENTS = {
    "study_instance_uid": "(0020,000D)",
    "accession_number": "(0008,0050)",
    "revision": "the revision that the text is about",
    "language": "en or de",
    "origin": "template, or model: a language model chose the sentences",
    "author": "the language model; empty for the template",
    "findings": "what was seen, and on which images",
    "impression": "what that means, by the model",
    "limits": "what the answer does not say",
    "plain": "the same without medical terms; empty unless configured",
    "made_at": "when it was recorded",
}


def _text(name: str, comment: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text(), nullable=False, comment=comment)


def upgrade() -> None:
    op.create_table(
        "summaries",
        sa.Column(
            "id",
            sa.BigInteger(),
            sa.Identity(always=True),
            nullable=False,
            comment="our own number of the row",
        ),
        sa.Column("analysis_id", sa.BigInteger(), nullable=False, comment="see analyses.id"),
        _text("language", "en or de"),
        _text("origin", "template, or model: a language model chose the sentences"),
        _text("author", "the language model; empty for the template"),
        sa.Column("facts", JSONB(), nullable=False, comment="all that the text may rest on"),
        sa.Column("sentences", JSONB(), nullable=False, comment="section, phrase, facts and words of each"),
        sa.Column(
            "made_at",
            sa.DateTime(timezone=True),
            nullable=False,
            server_default=sa.text("now()"),
            comment="when it was recorded",
        ),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name="fk_summaries_analysis_id"),
        sa.PrimaryKeyConstraint("id", name="pk_summaries"),
        comment="The text about a study; of one analysis the newest stands",
    )
    op.create_index("ix_summaries_analysis_id", "summaries", ["analysis_id"])
    op.add_column(
        "result_objects",
        sa.Column(
            "superseded",
            sa.Boolean(),
            nullable=False,
            server_default=sa.text("false"),
            comment="another object of this analysis, with other words, took its place",
        ),
    )
    op.execute(VIEW.format(words=",".join(_WORDS.format(section=section) for section in _SECTIONS)))
    op.execute(f"comment on view study_texts is '{VIEW_COMMENT}'")
    for column, words in COLUMN_COMMENTS.items():
        op.execute(f"comment on column study_texts.{column} is '{words}'")


def downgrade() -> None:
    op.execute("drop view study_texts")
    op.drop_column("result_objects", "superseded")
    op.drop_table("summaries")
