"""first schema"""

from uuid import uuid4

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STUDY_RESULTS = """
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
    coalesce(d.lost, 0) as deliveries_refused
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
        max(d0.stored_at) as stored_at
    from deliveries d0 join result_objects o on o.id = d0.result_object_id
    where o.analysis_id = a.id
) d on true
"""

STUDY_RESULTS_COMMENT = """
comment on view study_results is
'One row per study: what came of its newest revision, when each hop was reached, what was delivered'
"""

REVISION_COMMENT = (
    "comment on column study_results.state is 'of the newest revision; open: images still arrive'"
)


def upgrade() -> None:
    op.create_table(
        "destination_leases",
        sa.Column("destination", sa.Text(), nullable=False),
        sa.Column("owner", sa.Text(), nullable=True),
        sa.Column("token", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("rung_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("destination", name=op.f("pk_destination_leases")),
        comment="Which process may send to a destination right now",
    )
    op.create_table(
        "installation",
        sa.Column("uid", sa.Text(), nullable=False, comment="part of every UID that we derive"),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_installation")),
        comment="Who we are: one row, made by the first migration",
    )
    op.create_table(
        "model_versions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column(
            "first_used_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_versions")),
        sa.UniqueConstraint("name", "version", "sha256", name=op.f("uq_model_versions_name_version_sha256")),
        comment="Every model that ever said something, by the hash of its weights",
    )
    op.create_table(
        "quarantined",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("name", sa.Text(), nullable=False, comment="file name in the quarantine folder"),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("peer_ae_title", sa.Text(), nullable=False),
        sa.Column("peer_host", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantined")),
        sa.UniqueConstraint("name", name=op.f("uq_quarantined_name")),
        comment="Received files that could not be parsed; the bytes are kept",
    )
    op.create_table(
        "refused_contexts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("peer_ae_title", sa.Text(), nullable=False),
        sa.Column("peer_host", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("transfer_syntaxes", sa.Text(), nullable=False),
        sa.Column("times", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("last_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_refused_contexts")),
        comment="Presentation contexts that peers proposed and we refused",
    )
    op.create_index(
        "uq_refused_contexts_what",
        "refused_contexts",
        ["peer_ae_title", "peer_host", "sop_class_uid", "transfer_syntaxes"],
        unique=True,
    )
    op.create_table(
        "studies",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_instance_uid", sa.Text(), nullable=False),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="open: instances still arrive; quiet: judged complete"
        ),
        sa.Column("patient_id", sa.Text(), nullable=False),
        sa.Column("issuer_of_patient_id", sa.Text(), nullable=False),
        sa.Column("accession_number", sa.Text(), nullable=False),
        sa.Column(
            "study_date", sa.Text(), nullable=False, comment="as in the header (YYYYMMDD), empty where absent"
        ),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("conflict", sa.Text(), nullable=True, comment="why this study must not be analysed, if so"),
        sa.Column("first_received_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "last_received_at",
            sa.DateTime(timezone=True),
            nullable=False,
            comment="newest instance that opened the study",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_studies")),
        sa.UniqueConstraint("study_instance_uid", name=op.f("uq_studies_study_instance_uid")),
        comment="One row per StudyInstanceUID received",
    )
    op.create_index(op.f("ix_studies_accession_number"), "studies", ["accession_number"], unique=False)
    op.create_table(
        "revisions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="ready, analysing, analysed, unchanged or failed"
        ),
        sa.Column(
            "superseded",
            sa.Boolean(),
            server_default=sa.text("false"),
            nullable=False,
            comment="a newer revision was analysed",
        ),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 over the instances, hex"),
        sa.Column("completed_by", sa.Text(), nullable=False, comment="the evidence that completed the study"),
        sa.Column("ready_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column(
            "rung_at", sa.DateTime(timezone=True), nullable=True, comment="when the queue was last told"
        ),
        sa.Column("owner", sa.Text(), nullable=True, comment="the process that holds the lease"),
        sa.Column("attempt", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "token",
            sa.BigInteger(),
            server_default=sa.text("0"),
            nullable=False,
            comment="raised by each claim; a stale holder changes nothing",
        ),
        sa.Column("lease_until", sa.DateTime(timezone=True), nullable=True),
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("last_error", sa.Text(), nullable=True, comment="traceback of the last failed attempt"),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_revisions_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revisions")),
        sa.UniqueConstraint("study_id", "number", name=op.f("uq_revisions_study_id_number")),
        comment="A frozen list of a study's instances, and how far its analysis has come",
    )
    op.create_index(op.f("ix_revisions_state"), "revisions", ["state"], unique=False)
    op.create_index(op.f("ix_revisions_study_id"), "revisions", ["study_id"], unique=False)
    op.create_table(
        "series",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("number", sa.BigInteger(), nullable=True),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("body_part", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_series_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series")),
        sa.UniqueConstraint(
            "study_id", "series_instance_uid", name=op.f("uq_series_study_id_series_instance_uid")
        ),
        comment="One row per series received",
    )
    op.create_index(op.f("ix_series_study_id"), "series", ["study_id"], unique=False)
    op.create_table(
        "analyses",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("revision_id", sa.BigInteger(), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("outcome", sa.Text(), nullable=False),
        sa.Column("triage", sa.Text(), nullable=False),
        sa.Column("head_meant", sa.Boolean(), nullable=False, comment="the header speaks of a head CT or MR"),
        sa.Column(
            "reasons", postgresql.JSONB(astext_type=sa.Text()), nullable=False, comment="codes and sentences"
        ),
        sa.Column(
            "input_digest", sa.Text(), nullable=False, comment="SHA-256 over the analysed instances, hex"
        ),
        sa.Column("software_version", sa.Text(), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("analysed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column(
            "document",
            postgresql.JSONB(astext_type=sa.Text()),
            nullable=False,
            comment="the whole analysis, as JSON",
        ),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_analyses_revision_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_analyses_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_analyses")),
        sa.UniqueConstraint("revision_id", name=op.f("uq_analyses_revision_id")),
        comment="What was found in a revision",
    )
    op.create_index(op.f("ix_analyses_outcome"), "analyses", ["outcome"], unique=False)
    op.create_index(op.f("ix_analyses_study_id"), "analyses", ["study_id"], unique=False)
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=True),
        sa.Column("revision_id", sa.BigInteger(), nullable=True),
        sa.Column(
            "kind",
            sa.Text(),
            nullable=False,
            comment="received, quiet, ready, analysing, analysed, stored, ...",
        ),
        sa.Column(
            "detail", postgresql.JSONB(astext_type=sa.Text()), server_default=sa.text("'{}'"), nullable=False
        ),
        sa.ForeignKeyConstraint(["revision_id"], ["revisions.id"], name=op.f("fk_events_revision_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_events_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        comment="One row per change of state: what happened, when, to which study",
    )
    op.create_index(op.f("ix_events_revision_id"), "events", ["revision_id"], unique=False)
    op.create_index(op.f("ix_events_study_id"), "events", ["study_id"], unique=False)
    op.create_table(
        "instances",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("study_id", sa.BigInteger(), nullable=False),
        sa.Column("series_id", sa.BigInteger(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("instance_number", sa.BigInteger(), nullable=True),
        sa.Column("digest", sa.Text(), nullable=False, comment="SHA-256 of the data set as received, hex"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.Column("patient_key", sa.Text(), nullable=False, comment="tells patients apart and names nobody"),
        sa.Column(
            "own_result",
            sa.Boolean(),
            nullable=False,
            comment="made by us and sent back: never opens a study",
        ),
        sa.Column(
            "counts",
            sa.Boolean(),
            nullable=False,
            comment="false: another instance with the same SOP Instance UID and other bytes came first",
        ),
        sa.Column("times_received", sa.Integer(), server_default=sa.text("1"), nullable=False),
        sa.Column("peer_ae_title", sa.Text(), nullable=False),
        sa.Column("peer_host", sa.Text(), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["series_id"], ["series.id"], name=op.f("fk_instances_series_id")),
        sa.ForeignKeyConstraint(["study_id"], ["studies.id"], name=op.f("fk_instances_study_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_instances")),
        sa.UniqueConstraint(
            "study_id",
            "sop_instance_uid",
            "digest",
            name=op.f("uq_instances_study_id_sop_instance_uid_digest"),
        ),
        comment="One row per distinct instance received; the bytes lie in the store, by digest",
    )
    op.create_index(op.f("ix_instances_series_id"), "instances", ["series_id"], unique=False)
    op.create_index(op.f("ix_instances_sop_instance_uid"), "instances", ["sop_instance_uid"], unique=False)
    op.create_index(op.f("ix_instances_study_id"), "instances", ["study_id"], unique=False)
    op.create_table(
        "findings",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("analysis_id", sa.BigInteger(), nullable=False),
        sa.Column("lesion", sa.Integer(), nullable=False, comment="joins the slices of one lesion"),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("frame", sa.Integer(), nullable=True, comment="1-based; empty if single-frame"),
        sa.Column("slice_index", sa.Integer(), nullable=False),
        sa.Column("x0", sa.Integer(), nullable=False),
        sa.Column("y0", sa.Integer(), nullable=False),
        sa.Column("x1", sa.Integer(), nullable=False, comment="exclusive"),
        sa.Column("y1", sa.Integer(), nullable=False, comment="exclusive"),
        sa.Column("size_mm", sa.Double(), nullable=False),
        sa.Column("side", sa.Text(), nullable=False, comment="the patient's"),
        sa.Column("probability", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_findings_analysis_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_findings")),
        comment="One lesion on one slice",
    )
    op.create_index(op.f("ix_findings_analysis_id"), "findings", ["analysis_id"], unique=False)
    op.create_table(
        "predictions",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("analysis_id", sa.BigInteger(), nullable=False),
        sa.Column("model_version_id", sa.BigInteger(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=True),
        sa.Column("probabilities", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("threshold", sa.Double(), nullable=False),
        sa.Column("engine", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_predictions_analysis_id")),
        sa.ForeignKeyConstraint(
            ["model_version_id"], ["model_versions.id"], name=op.f("fk_predictions_model_version_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_predictions")),
        comment="What a model said of a series, or of the study (series empty)",
    )
    op.create_index(op.f("ix_predictions_analysis_id"), "predictions", ["analysis_id"], unique=False)
    op.create_index(
        op.f("ix_predictions_model_version_id"), "predictions", ["model_version_id"], unique=False
    )
    op.create_table(
        "result_objects",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("analysis_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("index", sa.Integer(), nullable=False),
        sa.Column("sop_class_uid", sa.Text(), nullable=False),
        sa.Column("sop_instance_uid", sa.Text(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("path", sa.Text(), nullable=False, comment="below the storage root"),
        sa.Column("size_bytes", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["analysis_id"], ["analyses.id"], name=op.f("fk_result_objects_analysis_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_result_objects")),
        comment="DICOM objects that we made",
    )
    op.create_index(op.f("ix_result_objects_analysis_id"), "result_objects", ["analysis_id"], unique=False)
    op.create_index(
        op.f("ix_result_objects_sop_instance_uid"), "result_objects", ["sop_instance_uid"], unique=False
    )
    op.create_table(
        "revision_instances",
        sa.Column("revision_id", sa.BigInteger(), nullable=False),
        sa.Column("instance_id", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"], ["instances.id"], name=op.f("fk_revision_instances_instance_id")
        ),
        sa.ForeignKeyConstraint(
            ["revision_id"], ["revisions.id"], name=op.f("fk_revision_instances_revision_id")
        ),
        sa.PrimaryKeyConstraint("revision_id", "instance_id", name=op.f("pk_revision_instances")),
        comment="Which instances a revision froze",
    )
    op.create_index(
        op.f("ix_revision_instances_instance_id"), "revision_instances", ["instance_id"], unique=False
    )
    op.create_table(
        "series_verdicts",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("analysis_id", sa.BigInteger(), nullable=False),
        sa.Column("series_instance_uid", sa.Text(), nullable=False),
        sa.Column("modality", sa.Text(), nullable=False),
        sa.Column("description", sa.Text(), nullable=False),
        sa.Column("taken", sa.Boolean(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False, comment="the tag or pixel fact that decided"),
        sa.ForeignKeyConstraint(
            ["analysis_id"], ["analyses.id"], name=op.f("fk_series_verdicts_analysis_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_series_verdicts")),
        comment="Why each series of a revision was taken or refused",
    )
    op.create_index(op.f("ix_series_verdicts_analysis_id"), "series_verdicts", ["analysis_id"], unique=False)
    op.create_table(
        "deliveries",
        sa.Column("id", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.Column("result_object_id", sa.BigInteger(), nullable=False),
        sa.Column("destination", sa.Text(), nullable=False, comment="name in the configuration"),
        sa.Column(
            "state", sa.Text(), nullable=False, comment="waiting, sending, stored, refused or given_up"
        ),
        sa.Column("attempts", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column(
            "last_status", sa.Text(), server_default=sa.text("''"), nullable=False, comment="in plain words"
        ),
        sa.Column("next_try_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("stored_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column(
            "committed_at", sa.DateTime(timezone=True), nullable=True, comment="storage commitment, a proof"
        ),
        sa.Column("found_at", sa.DateTime(timezone=True), nullable=True, comment="found by query, a proof"),
        sa.ForeignKeyConstraint(
            ["result_object_id"], ["result_objects.id"], name=op.f("fk_deliveries_result_object_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint(
            "result_object_id", "destination", name=op.f("uq_deliveries_result_object_id_destination")
        ),
        comment="One result object to one destination",
    )
    op.create_index("ix_deliveries_due", "deliveries", ["destination", "state", "next_try_at"], unique=False)
    op.create_index(op.f("ix_deliveries_result_object_id"), "deliveries", ["result_object_id"], unique=False)
    op.execute(STUDY_RESULTS)
    op.execute(STUDY_RESULTS_COMMENT)
    op.execute(REVISION_COMMENT)
    uid = f"2.25.{uuid4().int}"  # PS3.5 B.2; a migration keeps its own way of making it
    op.execute(sa.text("insert into installation (uid) values (:uid)").bindparams(uid=uid))


def downgrade() -> None:
    op.execute("drop view study_results")
    op.drop_index(op.f("ix_deliveries_result_object_id"), table_name="deliveries")
    op.drop_index("ix_deliveries_due", table_name="deliveries")
    op.drop_table("deliveries")
    op.drop_index(op.f("ix_series_verdicts_analysis_id"), table_name="series_verdicts")
    op.drop_table("series_verdicts")
    op.drop_index(op.f("ix_revision_instances_instance_id"), table_name="revision_instances")
    op.drop_table("revision_instances")
    op.drop_index(op.f("ix_result_objects_sop_instance_uid"), table_name="result_objects")
    op.drop_index(op.f("ix_result_objects_analysis_id"), table_name="result_objects")
    op.drop_table("result_objects")
    op.drop_index(op.f("ix_predictions_model_version_id"), table_name="predictions")
    op.drop_index(op.f("ix_predictions_analysis_id"), table_name="predictions")
    op.drop_table("predictions")
    op.drop_index(op.f("ix_findings_analysis_id"), table_name="findings")
    op.drop_table("findings")
    op.drop_index(op.f("ix_instances_study_id"), table_name="instances")
    op.drop_index(op.f("ix_instances_sop_instance_uid"), table_name="instances")
    op.drop_index(op.f("ix_instances_series_id"), table_name="instances")
    op.drop_table("instances")
    op.drop_index(op.f("ix_events_study_id"), table_name="events")
    op.drop_index(op.f("ix_events_revision_id"), table_name="events")
    op.drop_table("events")
    op.drop_index(op.f("ix_analyses_study_id"), table_name="analyses")
    op.drop_index(op.f("ix_analyses_outcome"), table_name="analyses")
    op.drop_table("analyses")
    op.drop_index(op.f("ix_series_study_id"), table_name="series")
    op.drop_table("series")
    op.drop_index(op.f("ix_revisions_study_id"), table_name="revisions")
    op.drop_index(op.f("ix_revisions_state"), table_name="revisions")
    op.drop_table("revisions")
    op.drop_index(op.f("ix_studies_accession_number"), table_name="studies")
    op.drop_table("studies")
    op.drop_index("uq_refused_contexts_what", table_name="refused_contexts")
    op.drop_table("refused_contexts")
    op.drop_table("quarantined")
    op.drop_table("model_versions")
    op.drop_table("installation")
    op.drop_table("destination_leases")
