"""views for people: what they ask of a study, of deliveries, of quarantine and of refusals"""

from importlib import import_module

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

first, second, third = (
    import_module(f"migrations.versions.{name}")
    for name in ("0001_first_schema", "0002_proven_deliveries", "0003_notes_of_an_analysis")
)
described = import_module("migrations.versions.0004_every_column_says_what_it_holds")

SCANNER = {
    "manufacturer": "(0008,0070); empty where absent",
    "model_name": "(0008,1090); empty where absent",
    "station_name": "(0008,1010); empty where absent",
}

# The series that decided: that of the findings, else the one with the highest probability of a tumour, else
# one that was taken, else the first that came. Queries in the list of columns cost nothing for rows that are
# not shown; a join would be made for all of them.
OF_DECIDING_SERIES = """(
        select {column} from series x
        left join lateral (
            select max((p.probabilities ->> 'tumour')::double precision) as probability
            from predictions p where p.analysis_id = a.id and p.series_instance_uid = x.series_instance_uid
        ) p on true
        where x.study_id = s.id
        order by
            exists (select from findings f
                where f.analysis_id = a.id and f.series_instance_uid = x.series_instance_uid) desc,
            p.probability desc nulls last,
            exists (select from series_verdicts v where v.analysis_id = a.id and v.taken
                and v.series_instance_uid = x.series_instance_uid) desc,
            x.modality in ('CT', 'MR') desc,
            x.id
        limit 1
    )"""
OF_SENDER = """(
        select {column} from instances i where i.study_id = s.id and not i.own_result order by i.id limit 1
    )"""

# A replaced view keeps its columns and who may read it; new columns come last.
STUDY_RESULTS = third.STUDY_RESULTS.replace(
    "\nfrom studies s\n",
    f""",
    coalesce(
        (select string_agg(reason ->> 'code', '; ') from jsonb_array_elements(a.reasons) reason),
        case when r.state = 'failed' then 'attempts_exhausted' end
    ) as reason_codes,
    {OF_SENDER.format(column="i.peer_ae_title")} as sender_ae_title,
    {OF_SENDER.format(column="i.peer_host")} as sender_host,
    {OF_DECIDING_SERIES.format(column="x.modality")} as modality,
    {OF_DECIDING_SERIES.format(column="x.manufacturer")} as manufacturer,
    {OF_DECIDING_SERIES.format(column="x.model_name")} as model_name,
    {OF_DECIDING_SERIES.format(column="x.station_name")} as station_name,
    (select string_agg(distinct m.name || ' ' || m.version, ', ')
        from predictions p join model_versions m on m.id = p.model_version_id
        where p.analysis_id = a.id) as models,
    (select string_agg(distinct d1.destination, ', ')
        from deliveries d1 join result_objects o1 on o1.id = d1.result_object_id
        where o1.analysis_id = a.id) as destinations
from studies s
""",  # noqa: S608 - of our own text alone
)

DELIVERY_STATUS = """
create view delivery_status as
select
    s.study_instance_uid,
    s.accession_number,
    r.number as revision,
    r.superseded,
    d.destination,
    o.kind,
    o.sop_instance_uid,
    d.state,
    d.attempts,
    d.last_status,
    d.waiting_since,
    d.next_try_at,
    d.stored_at,
    d.committed_at,
    d.found_at,
    d.proof,
    d.resends,
    d.alarmed_at
from deliveries d
join result_objects o on o.id = d.result_object_id
join analyses a on a.id = o.analysis_id
join revisions r on r.id = a.revision_id
join studies s on s.id = a.study_id
"""

QUARANTINED_OBJECTS = """
create view quarantined_objects as
select
    q.received_at,
    q.quarantined_at,
    q.kind,
    q.peer_ae_title as sender_ae_title,
    q.peer_host as sender_host,
    q.code,
    q.reason,
    q.path,
    q.size_bytes
from quarantined q
"""

REFUSED_PRESENTATION_CONTEXTS = """
create view refused_presentation_contexts as
select
    c.last_at,
    c.times,
    c.peer_ae_title as sender_ae_title,
    c.peer_host as sender_host,
    c.sop_class_uid,
    c.transfer_syntaxes
from refused_contexts c
"""

_SENDER = {
    "sender_ae_title": "calling AE title of the sender",
    "sender_host": "network address of the sender",
}
COMMENTS = {
    "study_results": {
        "reason_codes": "the codes of reasons, see docs/data-dictionary.md",
        "sender_ae_title": "calling AE title of the peer from which the first image came",
        "sender_host": "its network address",
        "modality": "of the series that decided; of the first series where none did",
        "manufacturer": "(0008,0070) of that series",
        "model_name": "(0008,1090) of that series: the scanner",
        "station_name": "(0008,1010) of that series",
        "models": "name and version of each model that had a say",
        "destinations": "who gets results of it, as in the configuration",
    },
    "delivery_status": {
        "study_instance_uid": "(0020,000D)",
        "accession_number": "(0008,0050)",
        "revision": "which revision of the study the object is of",
        "superseded": "a newer revision was analysed: the object is not sent any more",
        "destination": "name in the configuration; behind a slash the peer that sent the study",
        "kind": "page, overlay, report, ...: see docs/configuration.md; rejection: a note",
        "sop_instance_uid": "(0008,0018) of the object",
        "state": "waiting, sending, stored, refused or given_up",
        "attempts": "how often it was tried",
        "last_status": "the last answer, in plain words",
        "waiting_since": "since when it has waited without a break",
        "next_try_at": "not before",
        "stored_at": "when the destination said success",
        "committed_at": "storage commitment, a proof",
        "found_at": "found by query, a proof",
        "proof": "how far proving it has come, in plain words",
        "resends": "how often it was sent again because it got lost there",
        "alarmed_at": "since when somebody should have a look",
    },
    "quarantined_objects": {
        "received_at": "when it was answered 0x0000",
        "quarantined_at": "when it was set aside",
        "kind": "instance; report: of a storage commitment; note: of refused presentation contexts",
        **_SENDER,
        "code": "reason code, see docs/data-dictionary.md",
        "reason": "why it could not be used, in words",
        "path": "where its bytes lie, below the storage root",
        "size_bytes": "of what was received; 0 where not known",
    },
    "refused_presentation_contexts": {
        "last_at": "when it was last refused",
        "times": "how often it was refused",
        **_SENDER,
        "sop_class_uid": "what it wanted to send",
        "transfer_syntaxes": "the forms in which it offered that",
    },
}
NEW_VIEWS = {
    "delivery_status": "One row per object and destination: where it has got to, and whether that is proven",
    "quarantined_objects": "What was received and could not be used; the bytes are kept",
    "refused_presentation_contexts": "What peers proposed to send and we refused",
}


def _readers() -> list[str]:
    return list(op.get_bind().execute(sa.text(second.READERS)).scalars())


def upgrade() -> None:
    for name, words in SCANNER.items():
        op.add_column(
            "series", sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False, comment=words)
        )
    op.create_index(op.f("ix_studies_first_received_at"), "studies", ["first_received_at"], unique=False)
    for statement in (STUDY_RESULTS, DELIVERY_STATUS, QUARANTINED_OBJECTS, REFUSED_PRESENTATION_CONTEXTS):
        op.execute(statement)
    for view, words in NEW_VIEWS.items():
        op.execute(f"comment on view {view} is '{words}'")
    for view, columns in COMMENTS.items():
        for column, words in columns.items():
            op.execute(f"comment on column {view}.{column} is '{words}'")
    for reader in _readers():
        op.execute(f"grant select on {', '.join(NEW_VIEWS)} to {reader}")


def downgrade() -> None:
    # A view cannot lose columns; who may read it is kept over the replacement.
    readers = _readers()
    for view in NEW_VIEWS:
        op.execute(f"drop view {view}")
    op.execute("drop view study_results")
    op.execute(third.STUDY_RESULTS)
    op.execute(first.STUDY_RESULTS_COMMENT)
    op.execute(first.REVISION_COMMENT)
    for name, words in {**second.COLUMNS, **described.COLUMNS["study_results"]}.items():
        op.execute(f"comment on column study_results.{name} is '{words}'")
    op.execute("comment on column study_results.notes is 'what was less than it should be, in words'")
    for reader in readers:
        op.execute(f"grant select on study_results to {reader}")
    op.drop_index(op.f("ix_studies_first_received_at"), table_name="studies")
    for name in reversed(SCANNER):
        op.drop_column("series", name)
