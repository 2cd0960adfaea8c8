"""every column says what it holds"""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

COLUMNS = {
    "studies": {
        "study_instance_uid": "(0020,000D)",
        "patient_id": "(0010,0020) of the first instance; empty where absent",
        "issuer_of_patient_id": "(0010,0021); empty where absent",
        "accession_number": "(0008,0050); empty where absent",
        "description": "(0008,1030); empty where absent",
        "first_received_at": "when its first instance came",
        "id": "our own number of the row",
    },
    "series": {
        "series_instance_uid": "(0020,000E)",
        "modality": "(0008,0060)",
        "number": "(0020,0011)",
        "description": "(0008,103E); empty where absent",
        "body_part": "(0018,0015); empty where absent",
        "id": "our own number of the row",
        "study_id": "see studies.id",
    },
    "instances": {
        "sop_instance_uid": "(0008,0018)",
        "sop_class_uid": "(0008,0016)",
        "instance_number": "(0020,0013)",
        "size_bytes": "of the file in the store",
        "times_received": "how often these bytes came",
        "peer_ae_title": "calling AE title of the sender",
        "peer_host": "network address of the sender",
        "received_at": "when it was answered 0x0000",
        "id": "our own number of the row",
        "study_id": "see studies.id",
        "series_id": "see series.id",
    },
    "quarantined": {
        "code": "reason code, see docs/data-dictionary.md",
        "reason": "why it could not be parsed, in words",
        "peer_ae_title": "calling AE title of the sender",
        "peer_host": "network address of the sender",
        "received_at": "when it was answered 0x0000",
        "id": "our own number of the row",
    },
    "refused_contexts": {
        "peer_ae_title": "calling AE title of the sender",
        "peer_host": "network address of the sender",
        "sop_class_uid": "what it wanted to send",
        "transfer_syntaxes": "the forms in which it offered that",
        "times": "how often it was refused",
        "last_at": "when it was last refused",
        "id": "our own number of the row",
    },
    "revisions": {
        "number": "1 for the first revision of a study",
        "ready_at": "when the study was complete",
        "attempt": "how often a worker took it",
        "lease_until": "until when its worker is believed to live",
        "ended_at": "when the analysis ended",
        "id": "our own number of the row",
        "study_id": "see studies.id",
    },
    "revision_instances": {
        "revision_id": "the revision",
        "instance_id": "an instance in it",
    },
    "analyses": {
        "revision_id": "the revision that was analysed",
        "outcome": "present, absent, undetermined, poor_quality, incomplete, not_eligible or failed",
        "triage": "urgent, priority, routine or none",
        "software_version": "of neurotriage",
        "started_at": "when the attempt that ended it began",
        "analysed_at": "when it ended",
        "id": "our own number of the row",
        "study_id": "see studies.id",
    },
    "series_verdicts": {
        "series_instance_uid": "(0020,000E)",
        "modality": "(0008,0060)",
        "description": "(0008,103E); empty where absent",
        "taken": "true: analysed; false: refused",
        "code": "reason code, see docs/data-dictionary.md",
        "reason": "the same in words",
        "id": "our own number of the row",
        "analysis_id": "see analyses.id",
    },
    "model_versions": {
        "name": "of the model",
        "version": "of the model",
        "sha256": "of its weights, hex",
        "modality": "CT, MR or CT+MR",
        "first_used_at": "when it first said something here",
        "id": "our own number of the row",
    },
    "predictions": {
        "series_instance_uid": "the series; empty: the whole study",
        "probabilities": "by class, 0 to 1",
        "threshold": "tumour probability from which a series is present",
        "engine": "what ran the network",
        "device": "cpu or cuda",
        "id": "our own number of the row",
        "analysis_id": "see analyses.id",
        "model_version_id": "see model_versions.id",
    },
    "findings": {
        "series_instance_uid": "(0020,000E) of the source",
        "sop_instance_uid": "(0008,0018) of the source image",
        "slice_index": "0-based along the sorted volume",
        "x0": "left edge of the box, 0-based pixel of the stored image",
        "y0": "upper edge of the box",
        "x1": "right edge of the box, exclusive",
        "y1": "lower edge of the box, exclusive",
        "size_mm": "largest extent on this slice",
        "probability": "0 to 1",
        "id": "our own number of the row",
        "analysis_id": "see analyses.id",
    },
    "result_objects": {
        "kind": "page, overlay, report, ...: see docs/configuration.md; rejection: a note",
        "index": "counts the objects of a kind, from 0",
        "sop_class_uid": "(0008,0016)",
        "sop_instance_uid": "(0008,0018), derived: the same when it is made again",
        "series_instance_uid": "(0020,000E), ours",
        "size_bytes": "of the file",
        "id": "our own number of the row",
        "analysis_id": "see analyses.id",
    },
    "deliveries": {
        "waiting_since": "since when it has waited without a break",
        "attempts": "how often it was tried",
        "next_try_at": "not before",
        "stored_at": "when the destination said success",
        "proof_tries": "how often a proof was looked for",
        "id": "our own number of the row",
        "result_object_id": "see result_objects.id",
    },
    "destination_leases": {
        "destination": "name in the configuration; behind a slash the peer that sent the study",
        "owner": "the process that sends",
        "token": "raised by each sender; a stale one changes nothing",
        "lease_until": "until when its sender is believed to live",
        "rung_at": "when the queue was last told",
    },
    "events": {
        "at": "when it happened",
        "study_id": "the study, where there is one",
        "revision_id": "the revision, where there is one",
        "detail": "what else is known: worker, attempt, destination, ...",
        "id": "our own number of the row",
    },
    "alembic_version": {
        "version_num": "the revision of the schema that this database is at",
    },
    "study_results": {
        "study_instance_uid": "(0020,000D)",
        "accession_number": "(0008,0050)",
        "patient_id": "(0010,0020)",
        "study_date": "as in the header (YYYYMMDD), empty where absent",
        "description": "(0008,1030)",
        "outcome": "present, absent, undetermined, poor_quality, incomplete, not_eligible, failed; "
        "empty: not analysed yet",
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
    },
}
BEFORE = {("findings", "x1"): "'exclusive'", ("findings", "y1"): "'exclusive'"}
VERSIONS = "Which revision of the schema this database has; kept by Alembic"


def upgrade() -> None:
    op.create_table_comment("alembic_version", VERSIONS)
    for table, columns in COLUMNS.items():
        for column, words in columns.items():
            op.execute(f"comment on column {table}.{column} is '{words}'")


def downgrade() -> None:
    op.drop_table_comment("alembic_version")
    for table, columns in COLUMNS.items():
        for column in columns:
            words = BEFORE.get((table, column), "null")
            op.execute(f"comment on column {table}.{column} is {words}")
