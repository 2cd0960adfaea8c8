"""From a report of storage commitment to the deliveries that it is about."""

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
    """Match what an archive says of our results to the deliveries. Recorded again, it changes nothing.

    ``ae_title`` is who says it.

    Raises ``Unavailable`` while Postgres does not answer.
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
