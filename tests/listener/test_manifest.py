"""A received study and the same files in a folder are one manifest."""

from sqlalchemy import Engine

from db.studies.manifest import read_manifest
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.spool import Spool
from neurotriage.core.storage import Storage
from neurotriage.core.values import SeriesManifest
from neurotriage.dicom.manifest import scan_folder
from tests.listener.conftest import assemble, instance, spooled

# In no order; a date as a number, as some devices write it, and none at all.
_NUMBERS = (10, 2, None, 2, 2**31 + 1)


def test_a_received_study_has_the_manifest_of_a_folder_with_its_files(
    engine: Engine, storage: Storage, spool: Spool, ingest: Ingest
) -> None:
    for place, number in enumerate(_NUMBERS, 1):
        series = f"1.2.3.{place % 2}"
        spooled(spool, instance(number=place, InstanceNumber=number, SeriesInstanceUID=series))
    ingest.drain()
    (revision_id,) = assemble(engine, 0.001)
    with engine.begin() as connection:
        received = read_manifest(connection, revision_id, storage)
    (in_folder,) = scan_folder(storage.root / "store").studies
    assert received.series == in_folder.series
    assert received.digest == in_folder.digest
    assert [_places(series) for series in received.series] == [[2, 4], [1, 5, 3]]


def _places(series: SeriesManifest) -> list[int]:
    """The last component of each SOP Instance UID: its place in ``_NUMBERS``, from 1."""
    return [int(member.sop_instance_uid.rpartition(".")[2]) for member in series.instances]
