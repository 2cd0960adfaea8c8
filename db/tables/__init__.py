"""The tables. Comments are written for the admin who reads them in psql (``\\d+ studies``)."""

from db.tables.alarms import AlarmNotice, AlarmRow
from db.tables.analyses import (
    AnalysisRow,
    FindingRow,
    ModelVersion,
    PredictionRow,
    ResultObjectRow,
    SeriesVerdictRow,
    SummaryRow,
)
from db.tables.base import Base
from db.tables.commitments import CommitmentTransaction
from db.tables.corrections import IdentityCorrection, RejectedInstance
from db.tables.deliveries import Delivery, DestinationLease
from db.tables.events import Event
from db.tables.installation import Installation
from db.tables.pauses import Pause
from db.tables.processes import Process
from db.tables.received import (
    Association,
    Instance,
    Quarantined,
    RefusedAssociation,
    RefusedContext,
    Series,
    Study,
)
from db.tables.revisions import Revision, RevisionInstance
from db.tables.summaries import SummaryExchange, SummaryRequest

__all__ = [
    "AlarmNotice",
    "AlarmRow",
    "AnalysisRow",
    "Association",
    "Base",
    "CommitmentTransaction",
    "Delivery",
    "DestinationLease",
    "Event",
    "FindingRow",
    "IdentityCorrection",
    "Installation",
    "Instance",
    "ModelVersion",
    "Pause",
    "PredictionRow",
    "Process",
    "Quarantined",
    "RefusedAssociation",
    "RefusedContext",
    "RejectedInstance",
    "ResultObjectRow",
    "Revision",
    "RevisionInstance",
    "Series",
    "SeriesVerdictRow",
    "Study",
    "SummaryExchange",
    "SummaryRequest",
    "SummaryRow",
]
