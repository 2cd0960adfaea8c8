"""proven deliveries: alarms, storage commitment, what was looked for; the claims of an analysis"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

STUDY_RESULTS = """
create or replace view study_results as
select
    s.study_instance_uid,
    s.accession_number,
    s.patient_id,
    s.study_date,
    s.description,
    coalesce(a.outcome, case when r.state = 'failed' then 'failed' end) as outcome,
    coalesce(a.triage, case when r.state = 'failed' then 'none' end) as triage,
    (select string_agg(reason ->> 'text', '; ') from jsonb_array_elements(a.reasons) reason) as reasons,
    coalesce(r.state, s.state) as state,
    r.number as revision,
    r.attempt as attempts,
    (select count(*) from instances i where i.study_id = s.id and i.counts and not i.own_result)
        as instances,
    (select max((p.probabilities ->> 'tumour')::double precision)
        from predictions p where p.analysis_id = a.id) as tumour_probability,
    (select count(*) from findings f where f.analysis_id = a.id) as findings,
    s.first_received_at as received_at,
    r.ready_at,
    r.ended_at as analysed_at,
    d.stored_at,
    coalesce(d.objects, 0) as deliveries,
    coalesce(d.stored, 0) as deliveries_stored,
    coalesce(d.waiting, 0) as deliveries_waiting,
    coalesce(d.lost, 0) as deliveries_refused,
    d.committed_at,
    d.found_at,
    coalesce(d.proven, 0) as deliveries_proven,
    coalesce(d.alarmed, 0) as deliveries_alarmed
from studies s
left join lateral (
    select * from revisions r0 where r0.study_id = s.id and r0.state <> 'unchanged'
    order by r0.number desc limit 1
) r on true
left join analyses a on a.revision_id = r.id
left join lateral (
    select
        count(*) as objects,
        count(*) filter (where d0.state = 'stored') as stored,
        count(*) filter (where d0.state in ('waiting', 'sending')) as waiting,
        count(*) filter (where d0.state in ('refused', 'given_up')) as lost,
        count(*) filter (where d0.committed_at is not null or d0.found_at is not null) as proven,
        count(*) filter (where d0.alarmed_at is not null) as alarmed,
        max(d0.stored_at) as stored_at,
        max(d0.committed_at) as committed_at,
        max(d0.found_at) as found_at
    from deliveries d0 join result_objects o on o.id = d0.result_object_id
    where o.analysis_id = a.id
) d on true
"""

COLUMNS = {
    "committed_at": "newest proof by storage commitment",
    "found_at": "newest proof by query",
    "deliveries_proven": "stored objects that the destination committed or that were found there",
    "deliveries_alarmed": "deliveries that somebody should have a look at",
}
READERS = """
select quote_ident(grantee) from information_schema.role_table_grants
where table_name = 'study_results' and privilege_type = 'SELECT' and grantee not in (current_user, 'PUBLIC')
"""
DESTINATION = "name in the configuration; behind a slash the peer that sent the study"


def _added() -> tuple[sa.Column, ...]:
    return (
        sa.Column(
            "waiting_since", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.Column(
            "alarmed_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when somebody should have a look: it waits for long, or cannot be proven",
        ),
        sa.Column(
            "failures",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="answers that may stand for a defect of the object itself",
        ),
        sa.Column(
            "proof",
            sa.Text(),
            server_default=sa.text("''"),
            nullable=False,
            comment="how far proving it has come, in plain words",
        ),
        sa.Column(
            "proof_due_at",
            sa.DateTime(timezone=True),
            nullable=True,
            comment="when to look for a proof next; empty where there is one or none can be had",
        ),
        sa.Column("proof_tries", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "commitment_uid",
            sa.Text(),
            nullable=True,
            comment="transaction of the storage commitment that was asked for",
        ),
        sa.Column(
            "resends",
            sa.Integer(),
            server_default=sa.text("0"),
            nullable=False,
            comment="how often it was sent again because it got lost there",
        ),
    )


def upgrade() -> None:
    for column in _added():
        op.add_column("deliveries", column)
    op.alter_column("deliveries", "destination", comment=DESTINATION)
    op.create_index("ix_deliveries_unproven", "deliveries", ["destination", "proof_due_at"], unique=False)
    op.create_index(op.f("ix_deliveries_commitment_uid"), "deliveries", ["commitment_uid"], unique=False)
    op.add_column(
        "analyses",
        sa.Column(
            "claims",
            sa.Text(),
            server_default=sa.text("'research'"),
            nullable=False,
            comment="how much the result objects say",
        ),
    )
    op.execute(STUDY_RESULTS)
    for name, words in COLUMNS.items():
        op.execute(f"comment on column study_results.{name} is '{words}'")


def downgrade() -> None:
    # A view cannot lose columns; who may read it is kept over the replacement.
    readers = op.get_bind().execute(sa.text(READERS)).scalars().all()
    op.execute("drop view study_results")
    first = import_module("migrations.versions.0001_first_schema")
    for statement in (first.STUDY_RESULTS, first.STUDY_RESULTS_COMMENT, first.REVISION_COMMENT):
        op.execute(statement)
    for reader in readers:
        op.execute(f"grant select on study_results to {reader}")
    op.drop_column("analyses", "claims")
    op.drop_index(op.f("ix_deliveries_commitment_uid"), table_name="deliveries")
    op.drop_index("ix_deliveries_unproven", table_name="deliveries")
    op.alter_column("deliveries", "destination", comment="name in the configuration")
    for column in reversed(_added()):
        op.drop_column("deliveries", column.name)
