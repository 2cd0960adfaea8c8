"""the view for people shows what was less than it should be in an analysis"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

first, second = (
    import_module(f"migrations.versions.{name}") for name in ("0001_first_schema", "0002_proven_deliveries")
)
# A replaced view keeps its columns and who may read it; new columns come last.
STUDY_RESULTS = second.STUDY_RESULTS.replace(
    "\nfrom studies s\n",
    """,
    (select string_agg(note, '; ') from jsonb_array_elements_text(a.document -> 'degradations') note) as notes
from studies s
""",
)


def upgrade() -> None:
    op.execute(STUDY_RESULTS)
    op.execute("comment on column study_results.notes is 'what was less than it should be, in words'")


def downgrade() -> None:
    readers = op.get_bind().execute(sa.text(second.READERS)).scalars().all()
    op.execute("drop view study_results")
    for statement in (second.STUDY_RESULTS, first.STUDY_RESULTS_COMMENT, first.REVISION_COMMENT):
        op.execute(statement)
    for name, words in second.COLUMNS.items():
        op.execute(f"comment on column study_results.{name} is '{words}'")
    for reader in readers:
        op.execute(f"grant select on study_results to {reader}")
