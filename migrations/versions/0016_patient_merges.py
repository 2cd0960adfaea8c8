"""patient merges: the instances of a patient are found by an index"""

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Over ten million rows this takes longer than a statement otherwise may.
    op.execute("set local statement_timeout = 0")
    op.create_index("ix_instances_patient_id", "instances", [sa.text("split_part(patient_key, '.', 1)")])


def downgrade() -> None:
    op.drop_index("ix_instances_patient_id", table_name="instances")
