"""What was corrected after it came: whose images they are, and which no longer belong to their study."""

from datetime import datetime

from sqlalchemy import UniqueConstraint, func
from sqlalchemy.orm import Mapped, mapped_column

from db.tables.base import Base, key, parent


class IdentityCorrection(Base):
    """The patient of some instances of a study, where their headers name another."""

    __tablename__ = "identity_corrections"
    __table_args__ = (
        {"comment": "By command or message: whose images these are, whatever their headers say"},
    )

    id: Mapped[int] = key()
    study_id: Mapped[int] = parent("studies.id")
    at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when it was corrected")
    made_by: Mapped[str] = mapped_column(comment="the command with its user, or the HL7 file")
    reason: Mapped[str] = mapped_column(comment="why, in the words of whoever corrected it")
    patient_id: Mapped[str] = mapped_column(comment="(0010,0020) of results since then")
    issuer_of_patient_id: Mapped[str] = mapped_column(comment="(0010,0021); empty: none")
    patient_name: Mapped[str] = mapped_column(comment="(0010,0010); empty: none")
    birth_date: Mapped[str] = mapped_column(comment="(0010,0030); empty: none")
    sex: Mapped[str] = mapped_column(comment="(0010,0040); empty: none")


class RejectedInstance(Base):
    """An instance that its source rejected, whether it has come or not."""

    __tablename__ = "rejected_instances"
    __table_args__ = (
        UniqueConstraint(
            "study_instance_uid",
            "sop_instance_uid",
            "patient_key",
            name="uq_rejected_instances_what",
        ),
        {"comment": "Instances that a rejection note (IHE IOCM) or a command took out of their study"},
    )

    id: Mapped[int] = key()
    at: Mapped[datetime] = mapped_column(server_default=func.now(), comment="when the note came")
    study_instance_uid: Mapped[str] = mapped_column(comment="(0020,000D)")
    sop_instance_uid: Mapped[str] = mapped_column(
        comment="(0008,0018) of the rejected instance, which need not have come"
    )
    patient_key: Mapped[str] = mapped_column(
        comment="of whoever it was rejected for; tells patients apart and names nobody"
    )
    title: Mapped[str] = mapped_column(comment="113001, 113037 or 113038 of DCM, or command")
    note_sop_instance_uid: Mapped[str] = mapped_column(
        comment="(0008,0018) of the rejection note; empty for a command"
    )
