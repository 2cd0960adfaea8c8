"""A Postgres of our own, small MR instances, and a sender that is not the code under test."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import cast

import pydicom
import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.errors import InvalidDicomError
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.presentation import PresentationContext
from sqlalchemy import Engine, text

from db.engine import connect
from db.tables import Base
from dicom_listener.assembly import Assembler
from dicom_listener.backlog import Backlog
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.ingest.quarantine import Quarantine
from dicom_listener.server import Listener
from dicom_listener.spool import AssociationInfo, Spool
from neurotriage.core.settings import DeliverySettings, Settings
from neurotriage.core.storage import Storage
from neurotriage.dicom import requestor
from neurotriage.embedded import EmbeddedPostgres

PARTIES = AssociationInfo("SENDER", "NEUROTRIAGE", "127.0.0.1")


def instance(study: str = "1.2.3", number: int = 1, *, patient: str = "P1", **more: object) -> Dataset:
    """A small MR instance; its UIDs follow from study and number."""
    dataset = Dataset()
    dataset.SOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = f"{study}.1.{number}"
    dataset.StudyInstanceUID = study
    dataset.SeriesInstanceUID = f"{study}.1"
    dataset.Modality = "MR"
    dataset.PatientID = patient
    dataset.PatientName = "Canary^Name"
    dataset.InstanceNumber = number
    dataset.Rows, dataset.Columns = 64, 64
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.SamplesPerPixel, dataset.PixelRepresentation = 1, 0
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = bytes([number % 256, 1]) * (64 * 64)
    for keyword, value in more.items():
        setattr(dataset, keyword, value)
    return dataset


def encoded(dataset: Dataset) -> bytes:
    """The data set in Explicit VR Little Endian: what the sender puts on the wire."""
    buffer = DicomBytesIO()
    buffer.is_little_endian, buffer.is_implicit_VR = True, False
    write_dataset(buffer, dataset)
    return buffer.getvalue()


def data_set_of(path: Path) -> bytes:
    """What lies behind the File Meta of a stored file, found without the code under test."""
    data = path.read_bytes()
    assert data[128:132] == b"DICM"
    assert data[132:140] == b"\x02\x00\x00\x00UL\x04\x00"
    return data[144 + int.from_bytes(data[140:144], "little") :]


@dataclass(frozen=True)
class RealFile:
    """A file of the evaluation data as its File Meta describes it."""

    path: Path
    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str

    @property
    def data_set(self) -> bytes:
        return data_set_of(self.path)


def real_files(folder: Path) -> Iterator[RealFile]:
    """All files that say enough of themselves to be sent."""
    for path in sorted(found for found in folder.rglob("*") if found.is_file()):
        try:
            meta = pydicom.filereader.read_file_meta_info(path)
            yield RealFile(
                path, meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID, meta.TransferSyntaxUID
            )
        except (InvalidDicomError, AttributeError):
            continue


def associate(port: int, *, calling: str = "SENDER", called: str = "NEUROTRIAGE") -> Association:
    """An association for Verification and MR, as a modality asks for it."""
    entity = AE(calling)
    entity.add_requested_context("1.2.840.10008.1.1")
    entity.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    return requestor.associate(entity, "127.0.0.1", port, called=called)


def send(port: int, datasets: Sequence[Dataset]) -> list[int]:
    """Send over one association; the statuses that came back."""
    association = associate(port)
    assert association.is_established
    statuses = [status_of(association, dataset) for dataset in datasets]
    association.release()
    return statuses


def status_of(association: Association, dataset: Dataset) -> int:
    """Send one instance; its status, -1 where no answer came."""
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    try:
        return int(association.send_c_store(dataset).get("Status", -1))
    except RuntimeError:  # the association is gone
        return -1


def status_of_bytes(
    association: Association, context: PresentationContext, sop_instance_uid: str, data_set: bytes
) -> int:
    """Send these bytes as they are; the status."""
    request = C_STORE()
    request.MessageID = 1
    request.Priority = 2
    request.AffectedSOPClassUID = context.abstract_syntax
    request.AffectedSOPInstanceUID = sop_instance_uid
    request.DataSet = BytesIO(data_set)
    association._reactor_checkpoint.clear()  # as send_c_store does: the answer is ours
    association.dimse.send_msg(request, cast(int, context.context_id))
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(cast(C_STORE, answer).Status or 0)


def spooled(spool: Spool, dataset: Dataset | bytes, *, sop_instance_uid: str = "1.2.3.1.1") -> str:
    """Put something into the spool as the server does."""
    data = dataset if isinstance(dataset, bytes) else encoded(dataset)
    uid = sop_instance_uid if isinstance(dataset, bytes) else str(dataset.SOPInstanceUID)
    return spool.receive(
        PARTIES,
        sop_class_uid=MRImageStorage,
        sop_instance_uid=uid,
        transfer_syntax_uid=ExplicitVRLittleEndian,
        data_set=memoryview(BytesIO(data).getbuffer()),
    )


def spooled_report(spool: Spool, information: bytes, parties: AssociationInfo = PARTIES) -> None:
    """Put the Event Information of a storage commitment report into the spool."""
    with spool.begin_report(parties, ExplicitVRLittleEndian) as incoming:
        incoming.write(information)
        incoming.commit()


def assemble(engine: Engine, quiet_s: float, backlog: Backlog | None = None) -> list[int]:
    """Judge all open studies once; the ids of the revisions made."""
    settings = Settings.model_validate({"assembly": {"quiet_s": quiet_s}})
    return Assembler(engine, settings).step(backlog)


def rows(engine: Engine, query: str) -> list[tuple[object, ...]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text(query))]


@pytest.fixture(scope="session")
def database_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    server = EmbeddedPostgres(tmp_path_factory.mktemp("postgres"), durable=False)
    yield server.start()
    server.remove()


@pytest.fixture
def engine(database_url: str) -> Iterator[Engine]:
    """Empty tables."""
    engine = connect(database_url)
    Base.metadata.create_all(engine)
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    with engine.begin() as connection:
        connection.execute(text(f"truncate {tables} restart identity cascade"))
    yield engine
    engine.dispose()


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings.model_validate(
        {
            "listener": {"port": 0, "max_associations": 10},
            "storage": {"root": tmp_path / "storage", "min_free_bytes": 0},
            "assembly": {"quiet_s": 0.5},
        }
    )


@pytest.fixture
def storage(settings: Settings) -> Storage:
    return Storage(settings.storage.root)


@pytest.fixture
def spool(storage: Storage) -> Spool:
    return Spool(storage, "main", min_free_bytes=0)


@pytest.fixture(scope="session")
def readers() -> Iterator[HeaderReaders]:
    with HeaderReaders() as readers:
        yield readers


@pytest.fixture
def quarantine(engine: Engine, storage: Storage) -> Quarantine:
    return Quarantine(engine, storage)


@pytest.fixture
def ingest(
    engine: Engine, storage: Storage, spool: Spool, readers: HeaderReaders, quarantine: Quarantine
) -> Ingest:
    return Ingest(engine, storage, spool, readers, quarantine, limits=DeliverySettings())


@pytest.fixture
def listen(settings: Settings) -> Iterator[Callable[..., tuple[Listener, int]]]:
    """Start a listener with changed settings: ``listen(listener={"max_associations": 2})``."""
    started: list[Listener] = []

    def start(**changes: dict[str, object]) -> tuple[Listener, int]:
        document = settings.model_dump()
        for section, fields in changes.items():
            document[section] = document[section] | fields if isinstance(fields, dict) else fields
        listener = Listener(Settings.model_validate(document))
        port = listener.start()
        started.append(listener)
        return listener, port

    yield start
    for listener in started:
        listener.stop()
