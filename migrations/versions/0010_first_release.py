"""first release: every table, and the views for people"""

from typing import Any
from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

# Databases from before the first release are at 0001 to 0007; no id of theirs is used again.
revision = "0010"
down_revision = None
branch_labels = None
depends_on = None

TABLES = (
    "studies",
    "series",
    "instances",
    "quarantined",
    "refused_contexts",
    "revisions",
    "revision_instances",
    "analyses",
    "series_verdicts",
    "model_versions",
    "predictions",
    "findings",
    "result_objects",
    "deliveries",
    "destination_leases",
    "events",
    "installation",
)

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

STUDY_RESULTS = f"""
create view study_results as
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
    coalesce(d.alarmed, 0) as deliveries_alarmed,
    (select string_agg(note, '; ') from jsonb_array_elements_text(a.document -> 'degradations') note)
        as notes,
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
"""  # noqa: S608 - of our own text alone

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

VIEW_COMMENTS = {
    "study_results": (
        "One row per study: what came of its newest revision, when each hop was reached, what was delivered"
    ),
    "delivery_status": "One row per object and destination: where it has got to, and whether that is proven",
    "quarantined_objects": "What was received and could not be used; the bytes are kept",
    "refused_presentation_contexts": "What peers proposed to send and we refused",
}
VIEW_COLUMN_COMMENTS = {
    "study_results": {
        "study_instance_uid": "(0020,000D)",
        "accession_number": "(0008,0050)",
        "patient_id": "(0010,0020)",
        "study_date": "as in the header (YYYYMMDD), empty where absent",
        "description": "(0008,1030)",
        "outcome": (
            "present, absent, undetermined, poor_quality, incomplete, not_eligible, failed; "
            "empty: not analysed yet"
        ),
        "triage": "urgent, priority, routine or none",
        "reasons": "why the outcome is what it is, in words",
        "revision": "how often the study was taken to be complete",
        "attempts": "how often a worker took this revision",
        "instances": "images received, each counted once",
        "tumour_probability": "the highest that a model named, 0 to 1",
        "findings": "boxes: one per lesion and slice",
        "received_at": "when the first image came",
        "ready_at": "when the study was complete",
        "analysed_at": "when the analysis ended",
        "stored_at": "when a destination last said success",
        "deliveries": "objects to destinations",
        "deliveries_stored": "of these, the destination said success",
        "deliveries_waiting": "of these, not sent yet",
        "deliveries_refused": "of these, refused or given up",
        "state": "of the newest revision; open: images still arrive",
        "committed_at": "newest proof by storage commitment",
        "found_at": "newest proof by query",
        "deliveries_proven": "stored objects that the destination committed or that were found there",
        "deliveries_alarmed": "deliveries that somebody should have a look at",
        "notes": "what was less than it should be, in words",
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
        "sender_ae_title": "calling AE title of the sender",
        "sender_host": "network address of the sender",
        "code": "reason code, see docs/data-dictionary.md",
        "reason": "why it could not be used, in words",
        "path": "where its bytes lie, below the storage root",
        "size_bytes": "of what was received; 0 where not known",
    },
    "refused_presentation_contexts": {
        "last_at": "when it was last refused",
        "times": "how often it was refused",
        "sender_ae_title": "calling AE title of the sender",
        "sender_host": "network address of the sender",
        "sop_class_uid": "what it wanted to send",
        "transfer_syntaxes": "the forms in which it offered that",
    },
}


def upgrade() -> None:
    op.create_table_comment(
        "alembic_version", "Which revision of the schema this database has; kept by Alembic"
    )
    op.execute(
        "comment on column alembic_version.version_num is "
        "'the revision of the schema that this database is at'"
    )
    _create_studies()
    _create_instances()
    _create_set_aside()
    _create_revisions()
    _create_analyses()
    _create_predictions()
    _create_findings()
    _create_result_objects()
    _create_deliveries()
    _create_destination_leases()
    _create_events()
    _create_installation()
    _create_views()


def downgrade() -> None:
    for view in VIEW_COMMENTS:
        op.execute(f"drop view {view}")
    for table in reversed(TABLES):
        op.drop_table(table)
    op.execute("comment on column alembic_version.version_num is null")
    op.drop_table_comment("alembic_version")


def _text(name: str, comment: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return _column(name, sa.Text(), comment, null, default)


def _bigint(name: str, comment: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return _column(name, sa.BigInteger(), comment, null, default)


def _integer(name: str, comment: str, *, null: bool = False, default: str | None = None) -> sa.Column[Any]:
    return _column(name, sa.Integer(), comment, null, default)


def _double(name: str, comment: str) -> sa.Column[Any]:
    return _column(name, sa.Double(), comment)


def _boolean(name: str, comment: str, *, default: str | None = None) -> sa.Column[Any]:
    return _column(name, sa.Boolean(), comment, default=default)


def _timestamptz(
    name: str, comment: str, *, null: bool = False, default: str | None = None
) -> sa.Column[Any]:
    return _column(name, sa.DateTime(timezone=True), comment, null, default)


def _jsonb(name: str, comment: str, *, default: str | None = None) -> sa.Column[Any]:
    return _column(name, JSONB(), comment, default=default)


def _column(
    name: str, kind: sa.types.TypeEngine[Any], comment: str, null: bool = False, default: str | None = None
) -> sa.Column[Any]:
    """``default`` is SQL."""
    return sa.Column(
        name,
        kind,
        nullable=null,
        server_default=None if default is None else sa.text(default),
        comment=comment,
    )


def _id() -> sa.Column[Any]:
    return sa.Column(
        "id",
        sa.BigInteger(),
        sa.Identity(always=True),
        nullable=False,
        comment="our own number of the row",
    )


def _reference(table: str, column: str, target: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [target], name=f"fk_{table}_{column}")


def _create_studies() -> None:
    op.create_table(
        "studies",
        _id(),
        _text("study_instance_uid", "(0020,000D)"),
        _text("state", "open: instances still arrive; quiet: judged complete"),
        _text("patient_id", "(0010,0020) of the first instance; empty where absent"),
        _text("issuer_of_patient_id", "(0010,0021); empty where absent"),
        _text("accession_number", "(0008,0050); empty where absent"),
        _text("study_date", "as in the header (YYYYMMDD), empty where absent"),
        _text("description", "(0008,1030); empty where absent"),
        _text("conflict", "why this study must not be analysed, if so", null=True),
        _timestamptz("first_received_at", "when its first instance came"),
        _timestamptz("last_received_at", "when its newest instance came, by the clock of this database"),
        sa.PrimaryKeyConstraint("id", name="pk_studies"),
        sa.UniqueConstraint("study_instance_uid", name="uq_studies_study_instance_uid"),
        comment="One row per StudyInstanceUID received",
    )
    op.create_index("ix_studies_accession_number", "studies", ["accession_number"])
    op.create_index("ix_studies_first_received_at", "studies", ["first_received_at"])
    op.create_index(
        "ix_studies_open", "studies", ["last_received_at"], postgresql_where=sa.text("state = 'open'")
    )
    op.create_table(
        "series",
        _id(),
        _bigint("study_id", "see studies.id"),
        _text("series_instance_uid", "(0020,000E)"),
        _text("modality", "(0008,0060)"),
        _bigint("number", "(0020,0011)", null=True),
        _text("description", "(0008,103E); empty where absent"),
        _text("body_part", "(0018,0015); empty where absent"),
        _text("manufacturer", "(0008,0070); empty where absent", default="''"),
        _text("model_name", "(0008,1090); empty where absent", default="''"),
        _text("station_name", "(0008,1010); empty where absent", default="''"),
        _reference("series", "study_id", "studies.id"),
        sa.PrimaryKeyConstraint("id", name="pk_series"),
        sa.UniqueConstraint("study_id", "series_instance_uid", name="uq_series_study_id_series_instance_uid"),
        comment="One row per series received",
    )
    op.create_index("ix_series_study_id", "series", ["study_id"])


def _create_instances() -> None:
    op.create_table(
        "instances",
        _id(),
        _bigint("study_id", "see studies.id"),
        _bigint("series_id", "see series.id"),
        _text("sop_instance_uid", "(0008,0018)"),
        _text("sop_class_uid", "(0008,0016)"),
        _bigint("instance_number", "(0020,0013)", null=True),
        _text("digest", "SHA-256 of the data set as received, hex"),
        _bigint("size_bytes", "of the file in the store"),
        _text("patient_key", "tells patients apart and names nobody"),
        _boolean("own_result", "a result of ours by our own records, sent back: never opens a study"),
        _boolean("claims_ours", "names neurotriage as its maker, which anybody can write", default="false"),
        _boolean(
            "counts", "false: another instance with the same SOP Instance UID and other bytes came first"
        ),
        _integer("times_received", "how often these bytes came", default="1"),
        _text("peer_ae_title", "calling AE title of the sender"),
        _text("peer_host", "network address of the sender"),
        _timestamptz("received_at", "when it was answered 0x0000"),
        _reference("instances", "study_id", "studies.id"),
        _reference("instances", "series_id", "series.id"),
        sa.PrimaryKeyConstraint("id", name="pk_instances"),
        sa.UniqueConstraint(
            "study_id", "sop_instance_uid", "digest", name="uq_instances_study_id_sop_instance_uid_digest"
        ),
        comment="One row per distinct instance received; the bytes lie in the store, by digest",
    )
    op.create_index("ix_instances_series_id", "instances", ["series_id"])
    op.create_index("ix_instances_sop_instance_uid", "instances", ["sop_instance_uid"])
    op.create_index("ix_instances_study_id", "instances", ["study_id"])


def _create_set_aside() -> None:
    op.create_table(
        "quarantined",
        _id(),
        _text(
            "kind",
            "instance; report: of a storage commitment; note: of refused presentation contexts",
            default="'instance'",
        ),
        _text("name", "file name in the quarantine folder"),
        _text("path", "where its bytes lie, below the storage root"),
        _bigint("size_bytes", "of what was received; 0 where not known", default="0"),
        _text("code", "reason code, see docs/data-dictionary.md"),
        _text("reason", "why it could not be used, in words"),
        _text("peer_ae_title", "calling AE title of the sender"),
        _text("peer_host", "network address of the sender"),
        _timestamptz("received_at", "when it was answered 0x0000"),
        _timestamptz("quarantined_at", "when it was set aside", default="now()"),
        sa.PrimaryKeyConstraint("id", name="pk_quarantined"),
        sa.UniqueConstraint("name", name="uq_quarantined_name"),
        comment="What was received and could not be used; the bytes are kept",
    )
    op.create_table(
        "refused_contexts",
        _id(),
        _text("peer_ae_title", "calling AE title of the sender"),
        _text("peer_host", "network address of the sender"),
        _text("sop_class_uid", "what it wanted to send"),
        _text("transfer_syntaxes", "the forms in which it offered that"),
        _integer("times", "how often it was refused", default="1"),
        _timestamptz("last_at", "when it was last refused", default="now()"),
        sa.PrimaryKeyConstraint("id", name="pk_refused_contexts"),
        comment="Presentation contexts that peers proposed and we refused",
    )
    op.create_index(
        "uq_refused_contexts_what",
        "refused_contexts",
        ["peer_ae_title", "peer_host", "sop_class_uid", "transfer_syntaxes"],
        unique=True,
    )


def _create_revisions() -> None:
    op.create_table(
        "revisions",
        _id(),
        _bigint("study_id", "see studies.id"),
        _integer("number", "1 for the first revision of a study"),
        _text("state", "ready, analysing, analysed, unchanged or failed"),
        _boolean("superseded", "a newer revision was analysed", default="false"),
        _text("digest", "SHA-256 over the instances, hex"),
        _text("completed_by", "the evidence that completed the study"),
        _timestamptz("ready_at", "when the study was complete", default="now()"),
        _timestamptz("rung_at", "when the queue was last told", null=True),
        _text("owner", "the process that holds the lease", null=True),
        _integer("attempt", "how often a worker took it", default="0"),
        _bigint("token", "raised by each claim; a stale holder changes nothing", default="0"),
        _timestamptz("lease_until", "until when its worker is believed to live", null=True),
        _timestamptz("ended_at", "when the analysis ended", null=True),
        _text("last_error", "traceback of the last failed attempt", null=True),
        _reference("revisions", "study_id", "studies.id"),
        sa.PrimaryKeyConstraint("id", name="pk_revisions"),
        sa.UniqueConstraint("study_id", "number", name="uq_revisions_study_id_number"),
        comment="A frozen list of a study's instances, and how far its analysis has come",
    )
    op.create_index("ix_revisions_state", "revisions", ["state"])
    op.create_index("ix_revisions_study_id", "revisions", ["study_id"])
    op.create_table(
        "revision_instances",
        _bigint("revision_id", "the revision"),
        _bigint("instance_id", "an instance in it"),
        _reference("revision_instances", "revision_id", "revisions.id"),
        _reference("revision_instances", "instance_id", "instances.id"),
        sa.PrimaryKeyConstraint("revision_id", "instance_id", name="pk_revision_instances"),
        comment="Which instances a revision froze",
    )
    op.create_index("ix_revision_instances_instance_id", "revision_instances", ["instance_id"])


def _create_analyses() -> None:
    op.create_table(
        "analyses",
        _id(),
        _bigint("revision_id", "the revision that was analysed"),
        _bigint("study_id", "see studies.id"),
        _text("outcome", "present, absent, undetermined, poor_quality, incomplete, not_eligible or failed"),
        _text("triage", "urgent, priority, routine or none"),
        _boolean("head_meant", "the header speaks of a head CT or MR"),
        _jsonb("reasons", "codes and sentences"),
        _text("input_digest", "SHA-256 over the analysed instances, hex"),
        _text("claims", "how much the result objects say", default="'research'"),
        _text("software_version", "of neurotriage"),
        _timestamptz("started_at", "when the attempt that ended it began"),
        _timestamptz("analysed_at", "when it ended"),
        _jsonb("document", "the whole analysis, as JSON"),
        _reference("analyses", "revision_id", "revisions.id"),
        _reference("analyses", "study_id", "studies.id"),
        sa.PrimaryKeyConstraint("id", name="pk_analyses"),
        sa.UniqueConstraint("revision_id", name="uq_analyses_revision_id"),
        comment="What was found in a revision",
    )
    op.create_index("ix_analyses_outcome", "analyses", ["outcome"])
    op.create_index("ix_analyses_study_id", "analyses", ["study_id"])
    op.create_table(
        "series_verdicts",
        _id(),
        _bigint("analysis_id", "see analyses.id"),
        _text("series_instance_uid", "(0020,000E)"),
        _text("modality", "(0008,0060)"),
        _text("description", "(0008,103E); empty where absent"),
        _boolean("taken", "true: analysed; false: refused"),
        _text("code", "reason code, see docs/data-dictionary.md"),
        _text("reason", "the same in words"),
        _text("evidence", "the tag or pixel fact that decided"),
        _reference("series_verdicts", "analysis_id", "analyses.id"),
        sa.PrimaryKeyConstraint("id", name="pk_series_verdicts"),
        comment="Why each series of a revision was taken or refused",
    )
    op.create_index("ix_series_verdicts_analysis_id", "series_verdicts", ["analysis_id"])


def _create_predictions() -> None:
    op.create_table(
        "model_versions",
        _id(),
        _text("name", "of the model"),
        _text("version", "of the model"),
        _text("sha256", "of its weights, hex"),
        _text("modality", "CT, MR or CT+MR"),
        _timestamptz("first_used_at", "when it first said something here", default="now()"),
        sa.PrimaryKeyConstraint("id", name="pk_model_versions"),
        sa.UniqueConstraint("name", "version", "sha256", name="uq_model_versions_name_version_sha256"),
        comment="Every model that ever said something, by the hash of its weights",
    )
    op.create_table(
        "predictions",
        _id(),
        _bigint("analysis_id", "see analyses.id"),
        _bigint("model_version_id", "see model_versions.id"),
        _text("series_instance_uid", "the series; empty: the whole study", null=True),
        _jsonb("probabilities", "by class, 0 to 1"),
        _double("threshold", "tumour probability from which a series is present"),
        _text("engine", "what ran the network"),
        _text("device", "cpu or cuda"),
        _reference("predictions", "analysis_id", "analyses.id"),
        _reference("predictions", "model_version_id", "model_versions.id"),
        sa.PrimaryKeyConstraint("id", name="pk_predictions"),
        comment="What a model said of a series, or of the study (series empty)",
    )
    op.create_index("ix_predictions_analysis_id", "predictions", ["analysis_id"])
    op.create_index("ix_predictions_model_version_id", "predictions", ["model_version_id"])


def _create_findings() -> None:
    op.create_table(
        "findings",
        _id(),
        _bigint("analysis_id", "see analyses.id"),
        _integer("lesion", "joins the slices of one lesion"),
        _text("series_instance_uid", "(0020,000E) of the source"),
        _text("sop_instance_uid", "(0008,0018) of the source image"),
        _integer("frame", "1-based; empty if single-frame", null=True),
        _integer("slice_index", "0-based along the sorted volume"),
        _integer("x0", "left edge of the box, 0-based pixel of the stored image"),
        _integer("y0", "upper edge of the box"),
        _integer("x1", "right edge of the box, exclusive"),
        _integer("y1", "lower edge of the box, exclusive"),
        _double("size_mm", "largest extent on this slice"),
        _text("side", "the patient's"),
        _double("probability", "0 to 1"),
        _reference("findings", "analysis_id", "analyses.id"),
        sa.PrimaryKeyConstraint("id", name="pk_findings"),
        comment="One lesion on one slice",
    )
    op.create_index("ix_findings_analysis_id", "findings", ["analysis_id"])


def _create_result_objects() -> None:
    op.create_table(
        "result_objects",
        _id(),
        _bigint("analysis_id", "see analyses.id"),
        _text("kind", "page, overlay, report, ...: see docs/configuration.md; rejection: a note"),
        _integer("index", "counts the objects of a kind, from 0"),
        _text("sop_class_uid", "(0008,0016)"),
        _text("sop_instance_uid", "(0008,0018), derived: the same when it is made again"),
        _text("series_instance_uid", "(0020,000E), ours"),
        _text("path", "below the storage root"),
        _bigint("size_bytes", "of the file"),
        _reference("result_objects", "analysis_id", "analyses.id"),
        sa.PrimaryKeyConstraint("id", name="pk_result_objects"),
        comment="DICOM objects that we made",
    )
    op.create_index("ix_result_objects_analysis_id", "result_objects", ["analysis_id"])
    op.create_index("ix_result_objects_sop_instance_uid", "result_objects", ["sop_instance_uid"])


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        _id(),
        _bigint("result_object_id", "see result_objects.id"),
        _text("destination", "name in the configuration; behind a slash the peer that sent the study"),
        _text("state", "waiting, sending, stored, refused or given_up"),
        _timestamptz("waiting_since", "since when it has waited without a break", default="now()"),
        _timestamptz(
            "alarmed_at",
            "when somebody should have a look: it waits for long, or cannot be proven",
            null=True,
        ),
        _integer("failures", "answers that may stand for a defect of the object itself", default="0"),
        _integer("attempts", "how often it was tried", default="0"),
        _text("last_status", "in plain words", default="''"),
        _text(
            "comment", "the destination's own words with its last answer; may quote a header", default="''"
        ),
        _timestamptz("next_try_at", "not before", default="now()"),
        _timestamptz("stored_at", "when the destination said success", null=True),
        *_proof_columns(),
        _reference("deliveries", "result_object_id", "result_objects.id"),
        sa.PrimaryKeyConstraint("id", name="pk_deliveries"),
        sa.UniqueConstraint(
            "result_object_id", "destination", name="uq_deliveries_result_object_id_destination"
        ),
        comment="One result object to one destination",
    )
    op.create_index("ix_deliveries_commitment_uid", "deliveries", ["commitment_uid"])
    op.create_index("ix_deliveries_due", "deliveries", ["destination", "state", "next_try_at"])
    op.create_index("ix_deliveries_result_object_id", "deliveries", ["result_object_id"])
    op.create_index("ix_deliveries_unproven", "deliveries", ["destination", "proof_due_at"])


def _proof_columns() -> list[sa.Column[Any]]:
    return [
        _timestamptz("committed_at", "storage commitment, a proof", null=True),
        _timestamptz("found_at", "found by query, a proof", null=True),
        _text("proof", "how far proving it has come, in plain words", default="''"),
        _timestamptz(
            "proof_due_at",
            "when to look for a proof next; empty where there is one or none can be had",
            null=True,
        ),
        _integer("proof_tries", "how often a proof was looked for", default="0"),
        _text("commitment_uid", "transaction of the storage commitment that was asked for", null=True),
        _text(
            "commitment_ae_title",
            "AE title that was asked for storage commitment, the only one whose report counts",
            null=True,
        ),
        _integer("resends", "how often it was sent again because it got lost there", default="0"),
    ]


def _create_destination_leases() -> None:
    op.create_table(
        "destination_leases",
        _text("destination", "name in the configuration; behind a slash the peer that sent the study"),
        _text("owner", "the process that sends", null=True),
        _bigint("token", "raised by each sender; a stale one changes nothing", default="0"),
        _timestamptz("lease_until", "until when its sender is believed to live", null=True),
        _timestamptz("rung_at", "when the queue was last told", null=True),
        _timestamptz(
            "no_queries_until",
            "until when it is asked nothing, because it left a query unanswered",
            null=True,
        ),
        sa.PrimaryKeyConstraint("destination", name="pk_destination_leases"),
        comment="Which process may send to a destination right now",
    )


def _create_events() -> None:
    op.create_table(
        "events",
        _id(),
        _timestamptz("at", "when it happened", default="now()"),
        _bigint("study_id", "the study, where there is one", null=True),
        _bigint("revision_id", "the revision, where there is one", null=True),
        _text("kind", "received, quiet, ready, analysing, analysed, stored, ..."),
        _jsonb("detail", "what else is known: worker, attempt, destination, ...", default="'{}'"),
        _reference("events", "study_id", "studies.id"),
        _reference("events", "revision_id", "revisions.id"),
        sa.PrimaryKeyConstraint("id", name="pk_events"),
        comment="One row per change of state: what happened, when, to which study",
    )
    op.create_index("ix_events_revision_id", "events", ["revision_id"])
    op.create_index("ix_events_study_id", "events", ["study_id"])


def _create_installation() -> None:
    op.create_table(
        "installation",
        _text("uid", "part of every UID that we derive"),
        sa.PrimaryKeyConstraint("uid", name="pk_installation"),
        comment="Who we are: one row, made by the first migration",
    )
    uid = f"2.25.{uuid4().int}"  # PS3.5 B.2; a migration keeps its own way of making it
    op.execute(sa.text("insert into installation (uid) values (:uid)").bindparams(uid=uid))


def _create_views() -> None:
    for statement in (STUDY_RESULTS, DELIVERY_STATUS, QUARANTINED_OBJECTS, REFUSED_PRESENTATION_CONTEXTS):
        op.execute(statement)
    for view, words in VIEW_COMMENTS.items():
        op.execute(f"comment on view {view} is '{words}'")
    for view, columns in VIEW_COLUMN_COMMENTS.items():
        for column, words in columns.items():
            op.execute(f"comment on column {view}.{column} is '{words}'")
