"""From spooled reports of storage commitment to the deliveries that they are about."""

from contextlib import suppress
from pathlib import Path

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import InterfaceError, OperationalError

from db.intake import quarantine
from db.proof import record_report
from dicom_listener.header_reader import HeaderReader
from dicom_listener.spool import Spool, received
from neurotriage.core.errors import Refused, Unavailable
from neurotriage.core.settings import DeliverySettings
from neurotriage.core.storage import Storage, make_private, sync_folder
from neurotriage.core.values import Reason

log = structlog.get_logger()


def ingest_reports(
    engine: Engine, storage: Storage, spool: Spool, reader: HeaderReader, limits: DeliverySettings
) -> int:
    """Match what archives say of our results to the deliveries; the number of reports.

    Killed at any moment, a report is read again, which changes nothing. Raises ``Unavailable`` while Postgres
    does not answer; the files stay where they are.
    """
    reports = spool.reports()
    try:
        for path in reports:
            try:
                report = reader.read_report(path)
            except Refused as refused:
                _set_aside(engine, storage, path, refused.reason)
            else:
                with engine.begin() as connection:
                    objects = record_report(
                        connection,
                        report,
                        ae_title=received(path).reception.peer_ae_title,
                        max_resends=limits.max_resends,
                        retry_in_s=limits.retry_s,
                    )
                log.info("commitment_report", transaction_uid=report.transaction_uid, objects=objects)
            path.unlink()
    except (OperationalError, InterfaceError) as error:
        raise Unavailable(f"Postgres does not answer: {type(error.orig).__name__}") from error
    return len(reports)


def _set_aside(engine: Engine, storage: Storage, path: Path, reason: Reason) -> None:
    place = storage.quarantine / path.name
    make_private(place.parent)
    with suppress(FileExistsError):
        place.hardlink_to(path)
    sync_folder(place.parent)
    with engine.begin() as connection:
        quarantine(connection, path.name, reason, received(path).reception)
    log.warning("quarantined", name=path.name, code=reason.code)
