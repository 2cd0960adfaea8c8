"""Tells peers what was committed, again where they do not answer, and in the end no more."""

from collections.abc import Sequence
from ipaddress import ip_network
from itertools import groupby
from typing import Final

import structlog
from sqlalchemy import Engine

from db import commitments
from db.commitments import DueReport
from db.engine import outage_as_unavailable
from dicom_listener.commitment.report import association_with, send_report
from neurotriage.core.errors import Unavailable
from neurotriage.core.retries import retry_delay_s
from neurotriage.core.settings import Peer, Settings
from neurotriage.core.states import CommitmentState
from neurotriage.dicom.addresses import address_of_socket

log = structlog.get_logger()

_SUCCESS: Final = 0x0000
# Attribute list error and value out of range: warnings (PS3.7 annex C), after which the peer knows.
_WARNINGS: Final = (0x0107, 0x0116)
# A peer that answers with a failure has heard us; it is not told for a week.
MAX_REFUSALS: Final = 5


def peer_at(settings: Settings, ae_title: str, host: str) -> Peer | None:
    """The ``[[peer]]`` with a port that has this title, and this host or a network with this address."""
    titled = (peer for peer in settings.peer if peer.port and peer.ae_title.strip() == ae_title)
    return next((peer for peer in titled if peer.host == host or _is_in(host, peer.host)), None)


def _is_in(host: str, network: str) -> bool:
    try:
        return "/" in network and address_of_socket(host) in ip_network(network, strict=False)
    except ValueError:
        return False


class Reporter:
    """Reports what is due, peer by peer. Not thread-safe."""

    def __init__(self, engine: Engine, settings: Settings) -> None:
        self._engine, self._settings = engine, settings

    def step(self) -> int:
        """Report the decisions that are due; their number. Raises ``Unavailable`` without Postgres."""
        with outage_as_unavailable(), self._engine.connect() as connection:
            due = sorted(commitments.due_reports(connection), key=_association)
        for _, reports in groupby(due, _association):
            self._tell(list(reports))
        return len(due)

    def _tell(self, reports: Sequence[DueReport]) -> None:
        """Reports to one peer, over one association."""
        first = reports[0]
        peer = peer_at(self._settings, first.peer_ae_title, first.peer_host)
        if peer is None:
            why = f"no [[peer]] {first.peer_ae_title} at {first.peer_host} has a port"
            for report in reports:
                self._end(report, CommitmentState.NOT_REPORTED, why)
            return
        left = list(reports)
        try:
            with association_with(peer, first.peer_host, first.called_ae_title) as association:
                for report in reports:
                    status = send_report(association, report)
                    left.remove(report)
                    self._answered(report, status)
        except Exception as error:
            why = str(error)
            if not isinstance(error, Unavailable):  # whatever a peer leads pynetdicom to: others are told
                log.exception("commitment_report_broke", peer=first.peer_ae_title)
                why = f"the report ended in an error: {type(error).__name__}"
            for report in left:
                self._failed(report, why, self._settings.delivery.max_attempts)

    def _answered(self, report: DueReport, status: int) -> None:
        if status in (_SUCCESS, *_WARNINGS):
            self._end(report, CommitmentState.REPORTED, f"answered 0x{status:04X}")
        else:
            self._failed(report, f"the peer refuses the report (0x{status:04X})", MAX_REFUSALS)

    def _failed(self, report: DueReport, why: str, max_attempts: int) -> None:
        if report.attempts + 1 >= max_attempts:
            self._end(report, CommitmentState.NOT_REPORTED, why)
            return
        limits = self._settings.delivery
        in_s = retry_delay_s(report.attempts + 1, first_s=limits.retry_s, longest_s=limits.retry_max_s)
        log.warning("commitment_report_failed", peer=report.peer_ae_title, why=why, again_in_s=in_s)
        with outage_as_unavailable(), self._engine.begin() as connection:
            commitments.postpone(connection, report, why, in_s=in_s)

    def _end(self, report: DueReport, state: CommitmentState, why: str) -> None:
        tell = log.info if state is CommitmentState.REPORTED else log.error
        tell(
            f"commitment_{state}",
            peer=report.peer_ae_title,
            transaction_uid=report.transaction_uid,
            committed=len(report.committed),
            failed=len(report.failed),
            why=why,
        )
        with outage_as_unavailable(), self._engine.begin() as connection:
            commitments.end_report(connection, report, state, why)


def _association(report: DueReport) -> tuple[str, str, str]:
    return report.peer_ae_title, report.peer_host, report.called_ae_title
