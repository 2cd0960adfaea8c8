"""The study that is stored to test a destination: a drawn head under a name that no patient has."""

from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from neurotriage import __version__
from neurotriage.core.settings import SummarySettings
from neurotriage.core.values import Claims, Outcome, ResultKind, ResultObject
from neurotriage.dicom.uids import DOCTOR_INSTALLATION_UID, random_uid
from neurotriage.phantom import make_analysis, make_study
from worker.results import build
from worker.summary import tell

PATIENT_NAME: Final = "NEUROTRIAGE^TEST"
PATIENT_ID: Final = "NEUROTRIAGE-TEST"
_SLICES: Final = 9
_SHAPE_PX: Final = (96, 96)


def trial_objects(
    folder: Path, kinds: AbstractSet[ResultKind], claims: Claims
) -> tuple[str, tuple[ResultObject, ...]]:
    """Study Instance UID and result objects of a drawn MR study with a lesion.

    The drawn images, which are not for sending, are written below ``folder``. Each call makes a new study, so
    that objects found at a destination afterwards came from this call.
    """
    now = datetime.now(UTC).astimezone()
    study_uid = random_uid()
    header = {
        "PatientName": PATIENT_NAME,
        "PatientID": PATIENT_ID,
        "IssuerOfPatientID": "",
        "PatientBirthDate": "",
        "PatientSex": "O",
        "StudyInstanceUID": study_uid,
        "StudyDate": f"{now:%Y%m%d}",
        "StudyTime": f"{now:%H%M%S}",
        "StudyID": "TEST",
        "AccessionNumber": "",
        "ReferringPhysicianName": "",
        "StudyDescription": "NEUROTRIAGE TEST, not a patient",
        "TimezoneOffsetFromUTC": f"{now:%z}"[:5],
    }
    made = make_study(folder, shape=_SHAPE_PX, slices=_SLICES, header=header)
    analysis, evidence = make_analysis(made, Outcome.PRESENT, analysed_at=now, software_version=__version__)
    # No model analysed it, and no object may claim so.
    unasked = tuple(replace(p, model="no model, a test", version="0") for p in analysis.predictions)
    analysis = replace(analysis, predictions=unasked)
    built = build(
        analysis,
        evidence,
        made.manifest,
        DOCTOR_INSTALLATION_UID,
        claims=claims,
        kinds=kinds,
        summary=tell(analysis, SummarySettings(), claims).summary,
    )
    return study_uid, built.objects
