"""Records storage commitment reports for the deliveries that they are about (PS3.4 J.3.3)."""

import structlog
from sqlalchemy import Engine

from db.delivery.proof import record_report as record
from db.engine import outage_as_unavailable
from neurotriage.core.settings import DeliverySettings
from neurotriage.dicom.commitment import CommitmentReport

log = structlog.get_logger()


def record_report(
    engine: Engine, report: CommitmentReport, limits: DeliverySettings, *, ae_title: str
) -> None:
    """Match a report to the deliveries of its transaction. Idempotent.

    ``ae_title``: calling AE title of the archive that sent it. Raises ``Unavailable`` while Postgres does not
    answer.
    """
    with outage_as_unavailable(), engine.begin() as connection:
        objects = record(
            connection,
            report,
            ae_title=ae_title,
            max_resends=limits.max_resends,
            retry_in_s=limits.retry_s,
        )
    log.info("commitment_report", transaction_uid=report.transaction_uid, objects=objects)
