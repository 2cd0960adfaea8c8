"""Merges of patients: every study with images of the prior one becomes the surviving one's."""

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, func, select

from db.corrections.identity import correct
from db.tables import IdentityCorrection, Instance, Study
from neurotriage.core.patient import PatientMerge
from neurotriage.dicom.patients import id_part

# More are not of one person: a placeholder of many, which a message must not make one patient's.
MAX_STUDIES: Final = 500


class TooManyStudies(Exception):
    """A merge would concern more studies than one person has; the text says so."""


def studies_of(connection: Connection, patient_id: str) -> list[int]:
    """Ids of the studies with images that are this patient's, or were, by their headers or a correction."""
    stated = select(Instance.study_id).where(
        func.split_part(Instance.patient_key, ".", 1) == id_part(patient_id)
    )
    corrected = select(IdentityCorrection.study_id).where(
        func.btrim(IdentityCorrection.patient_id) == patient_id.strip()
    )
    found = stated.union(corrected).subquery()
    return list(connection.execute(select(found.c.study_id).order_by(found.c.study_id)).scalars())


def merge(connection: Connection, merges: Sequence[PatientMerge], *, made_by: str, reason: str) -> list[int]:
    """Apply merges in their order; the ids of the corrected studies.

    To apply the same again changes nothing, unless images of a prior patient came meanwhile. Locks the rows
    of the studies. Raises ``TooManyStudies``.
    """
    concerned = [studies_of(connection, one.prior_id) for one in merges]
    if max(map(len, concerned), default=0) > MAX_STUDIES:
        raise TooManyStudies(f"it concerns more than {MAX_STUDIES} studies of one patient")
    # In the order in which the ingester locks them, so that neither waits for the other in a circle.
    connection.execute(
        select(Study.id)
        .where(Study.id.in_({study_id for ids in concerned for study_id in ids}))
        .order_by(Study.study_instance_uid)
        .with_for_update(key_share=True)
    )
    corrected: dict[int, None] = {}
    for one in merges:
        # Read again: an earlier merge of the same message may have made more of them this patient's.
        for study_id in studies_of(connection, one.prior_id):
            done = correct(
                connection,
                study_id,
                one.to,
                made_by=made_by,
                reason=reason,
                of_patient_id=one.prior_id,
                of_issuers=one.prior_issuers,
            )
            if done is not None:
                corrected[study_id] = None
    return list(corrected)
