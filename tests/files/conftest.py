"""DICOM files of small MR instances, and the spool that they go to."""

from io import BytesIO
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian

from dicom_listener.spool import AssociationInfo, EndedAssociation, Spool, read_received
from neurotriage.core.storage import Storage

ASSOCIATION = AssociationInfo("SENDER", "NEUROTRIAGE", "127.0.0.1")


def as_file(dataset: Dataset, syntax: UID = ExplicitVRLittleEndian) -> bytes:
    """The instance as a file of another vendor."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    buffer = BytesIO()
    dataset.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()


def ends(spool: Spool) -> list[EndedAssociation]:
    """The notes of associations that ended."""
    return [EndedAssociation.from_json(path.read_bytes()) for path in spool.ended()]


def association_ids(spool: Spool) -> set[str]:
    """Of the associations whose instances wait."""
    return {read_received(path).reception.association_id for path in spool.waiting()}


@pytest.fixture
def storage(tmp_path: Path) -> Storage:
    return Storage(tmp_path / "storage")


@pytest.fixture
def spool(storage: Storage) -> Spool:
    return Spool(storage, "import", min_free_bytes=0)
