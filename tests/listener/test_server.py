"""C-ECHO and C-STORE over real associations."""

import json
import os
import queue
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pydicom
import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE
from pynetdicom.events import Event
from pynetdicom.pdu import A_ASSOCIATE_AC
from pynetdicom.transport import AssociationSocket

from dicom_listener.association.services import CANNOT_UNDERSTAND, OUT_OF_RESOURCES
from dicom_listener.server import Listener
from neurotriage.conformance import statement
from neurotriage.core.settings import Settings
from neurotriage.dicom import requestor
from neurotriage.dicom.uids import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from tests.conftest import until
from tests.listener.conftest import (
    associate,
    data_set_of,
    encoded,
    instance,
    real_files,
    send,
    status_of,
    status_of_bytes,
)
from tests.listener.test_request import a_associate_rq, context
from tests.listener.test_transport import p_data, store_command

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")

Listen = Callable[..., tuple[Listener, int]]


def test_success_means_the_bytes_lie_in_the_spool(listen: Listen) -> None:
    listener, port = listen()
    images = [instance(number=number) for number in range(1, 6)]
    assert send(port, images) == [0] * 5
    assert [data_set_of(path) for path in listener.spool.waiting()] == [encoded(image) for image in images]


def test_the_same_instance_twice_is_taken_twice(listen: Listen) -> None:
    listener, port = listen()
    assert send(port, [instance(), instance()]) == [0, 0]
    assert len(listener.spool.waiting()) == 2


def test_nothing_is_parsed_so_garbage_is_kept_too(listen: Listen) -> None:
    listener, port = listen()
    association = associate(port)
    image_context = association.accepted_contexts[1]
    assert status_of_bytes(association, image_context, "1.2.3", b"\xfe" * 1000) == 0
    association.release()
    assert data_set_of(listener.spool.waiting()[0]) == b"\xfe" * 1000


def test_low_disk_is_answered_out_of_resources_and_recovers_by_itself(
    listen: Listen, settings: Settings
) -> None:
    limit = shutil.disk_usage("/").free * 4
    listener, port = listen(storage={"min_free_bytes": limit})
    association = associate(port)
    assert status_of(association, instance()) == OUT_OF_RESOURCES
    files = [path for path in settings.storage.root.rglob("*") if path.is_file()]
    assert [path.name for path in files] == ["lock"]
    listener.spool.room.low_bytes = listener.spool.room.high_bytes = 0  # somebody made room
    assert status_of(association, instance()) == 0
    association.release()


def test_a_write_error_is_answered_out_of_resources(listen: Listen, settings: Settings) -> None:
    _, port = listen()
    shutil.rmtree(settings.storage.root / "spool" / "main" / "new")
    assert send(port, [instance()]) == [OUT_OF_RESOURCES]
    assert list((settings.storage.root / "spool" / "main" / "tmp").iterdir()) == []


@pytest.mark.parametrize("uid", ["../evil", "/abs/evil", "1.2\n.3", "1.2;DROP", "CON"])
def test_a_sop_instance_uid_that_is_none_is_refused(listen: Listen, uid: str) -> None:
    listener, port = listen()
    assert send(port, [instance(SOPInstanceUID=uid)]) == [CANNOT_UNDERSTAND]
    assert listener.spool.waiting() == []


def test_a_uid_with_leading_zeros_is_taken(listen: Listen) -> None:
    _, port = listen()
    assert send(port, [instance(SOPInstanceUID="1.02.003")]) == [0]


def test_strangers_and_wrong_called_titles_are_rejected(listen: Listen) -> None:
    _, port = listen(peer=[{"ae_title": "PACS", "host": "127.0.0.0/8"}])
    assert associate(port, calling="OTHER").is_rejected
    assert associate(port, calling="PACS", called="ARCHIVE").is_rejected
    known = associate(port, calling="PACS")
    assert known.is_established
    known.release()


def answer_to(port: int, **fields: bytes) -> bytes:
    """The type, and what follows the length, of the PDU that answers an A-ASSOCIATE-RQ written by hand."""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(a_associate_rq(**fields))
        header = connection.recv(6, socket.MSG_WAITALL)
        return header[:1] + connection.recv(4, socket.MSG_WAITALL)


ACCEPTED, REJECTED = 2, 3


@pytest.mark.parametrize(
    "calling", [b"PACS" + bytes(12), b"  PACS" + b" " * 10, b"PACS  \0\0 \0\0\0\0\0\0\0"]
)
def test_a_title_padded_by_a_lenient_peer_is_that_peer(listen: Listen, calling: bytes) -> None:
    _, port = listen(peer=[{"ae_title": "PACS", "host": "127.0.0.1"}])
    assert answer_to(port, calling=calling, called=b"NEUROTRIAGE" + bytes(5))[0] == ACCEPTED


@pytest.mark.parametrize(
    ("calling", "shown"),
    [
        (b"P\xc4CS".ljust(16), r"P\xc4CS"),
        (b"PA\nCS".ljust(16), r"PA\x0aCS"),
        (b" " * 16, ""),
        (bytes(16), ""),
    ],
)
def test_a_title_that_cannot_be_read_is_rejected_and_the_log_says_whose(
    listen: Listen, capfd: pytest.CaptureFixture[str], calling: bytes, shown: str
) -> None:
    _, port = listen()
    assert answer_to(port, calling=calling)[0:5] == bytes((REJECTED, 0, 1, 1, 3))
    said = rejections_told(capfd)  # before the answer was sent
    assert "127.0.0.1" in said
    assert "printable ASCII" in said
    assert shown in said.replace("\\\\", "\\")
    assert answer_to(port)[0] == ACCEPTED


def test_a_uid_that_is_too_long_costs_its_object_and_no_other(
    listen: Listen, capfd: pytest.CaptureFixture[str]
) -> None:
    listener, port = listen()
    association = associate(port)
    statuses = []
    for uid in ("1.2.3", "1." * 40 + "1", "1.2.4"):
        statuses.append(status_of_command(association, store_command(uid.encode())))
    association.release()
    assert statuses == [0, CANNOT_UNDERSTAND, 0]
    assert len(listener.spool.waiting()) == 2
    assert "instance_refused" in "".join(capfd.readouterr())


def test_a_context_that_cannot_be_read_is_refused_and_noted(listen: Listen) -> None:
    listener, port = listen()
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(a_associate_rq(context(1), context(3, b"1.2." + b"9" * 70)))
        answer = A_ASSOCIATE_AC()
        header = connection.recv(6, socket.MSG_WAITALL)
        answer.decode(header + connection.recv(int.from_bytes(header[2:], "big"), socket.MSG_WAITALL))
    assert [item.result for item in answer.presentation_context] == [0, 3]
    until(lambda: bool(listener.spool.refused()))
    (note,) = listener.spool.refused()
    ((shown, _),) = json.loads(note.read_text())["contexts"]
    assert shown.startswith("1.2.999")
    assert len(shown) <= 64


def status_of_command(association: Association, command: bytes) -> int:
    """Send a C-STORE-RQ that pynetdicom would not; its status."""
    number = cast(int, association.accepted_contexts[1].context_id)
    association._reactor_checkpoint.clear()  # the answer is ours
    connection = cast(AssociationSocket, association.dul.socket).socket
    cast(socket.socket, connection).sendall(p_data(number, 3, command) + p_data(number, 2, bytes(100)))
    _, answer = association.dimse.get_msg(block=True)
    association._reactor_checkpoint.set()
    return int(cast(C_STORE, answer).Status or 0)


def test_a_command_with_another_class_than_its_context_is_taken_as_its_context(listen: Listen) -> None:
    listener, port = listen()
    association = associate(port)
    command = store_command(b"1.2.3", b"1.2.840.10008.5.1.4.1.1.77.77")
    assert status_of_command(association, command) == 0
    association.release()
    assert len(listener.spool.waiting()) == 1


def rejections_told(capfd: pytest.CaptureFixture[str]) -> str:
    said = "".join(capfd.readouterr())
    return "\n".join(line for line in said.splitlines() if "association_rejected" in line)


def test_a_rejection_names_address_titles_and_the_true_cause(
    listen: Listen, capfd: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = tmp_path / "config.toml"
    configuration.touch()
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", str(configuration))
    _, port = listen(peer=[{"ae_title": "PACS", "host": "127.0.0.0/8"}])
    assert associate(port, calling="OTHER").is_rejected
    said = rejections_told(capfd)
    assert all(
        part in said for part in ("127.0.0.1", "OTHER", "NEUROTRIAGE", "none with this calling AE title")
    )
    assert associate(port, calling="PACS", called="TRIAGE").is_rejected
    said = rejections_told(capfd)
    assert all(part in said for part in ("127.0.0.1", "PACS", "TRIAGE", "not [listener] ae_title"))
    assert "was changed" not in said
    os.utime(configuration, ns=(0, 0))  # an admin edits it and forgets to start the listener anew
    assert associate(port, calling="OTHER").is_rejected
    assert "the configuration file was changed after this listener started" in rejections_told(capfd)


def test_we_go_by_our_own_implementation_uid_on_the_wire(listen: Listen) -> None:
    """What an acceptor and a requestor say of themselves is what the conformance statement says."""
    said = {IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME}
    assert all(f"`{name}`" in statement(Settings()) for name in said)
    _, port = listen()
    foreign = AE("SENDER")
    foreign.add_requested_context("1.2.840.10008.1.1")
    association = foreign.associate("127.0.0.1", port, ae_title="NEUROTRIAGE")
    listener = association.acceptor
    assert {str(listener.implementation_class_uid), listener.implementation_version_name} == said
    association.release()
    came = queue.SimpleQueue[Event]()
    foreign.add_supported_context("1.2.840.10008.1.1")
    server = foreign.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, came.put)])
    ours = AE("NEUROTRIAGE")
    ours.add_requested_context("1.2.840.10008.1.1")
    assert server is not None
    association = requestor.associate(ours, "127.0.0.1", server.server_address[1], called="SENDER")
    peer = came.get(timeout=10).assoc.requestor
    assert {str(peer.implementation_class_uid), peer.implementation_version_name} == said
    association.release()
    server.shutdown()


def test_a_refused_context_is_noted(listen: Listen) -> None:
    listener, port = listen()
    entity = AE("SENDER")
    entity.add_requested_context(MRImageStorage, DeflatedExplicitVRLittleEndian)
    entity.add_requested_context("1.2.3.4.5", ExplicitVRLittleEndian)
    entity.add_requested_context("1.2.840.10008.1.1")
    association = entity.associate("127.0.0.1", port, ae_title="NEUROTRIAGE")
    assert [str(context.abstract_syntax) for context in association.accepted_contexts] == [
        "1.2.840.10008.1.1"
    ]
    association.release()
    (note,) = listener.spool.refused()
    assert json.loads(note.read_text()) == {
        "peer_ae_title": "SENDER",
        "peer_host": "127.0.0.1",
        "contexts": [
            [MRImageStorage, [DeflatedExplicitVRLittleEndian]],
            ["1.2.3.4.5", [ExplicitVRLittleEndian]],
        ],
    }


def test_no_name_reaches_the_log(listen: Listen, capfd: pytest.CaptureFixture[str]) -> None:
    _, port = listen()
    assert send(port, [instance(PatientID="Canary1"), instance(SOPInstanceUID="x")]) == [0, CANNOT_UNDERSTAND]
    written = capfd.readouterr()
    assert "listening" in written.out + written.err
    assert "Canary" not in written.out + written.err


@pytest.mark.usefixtures("dcmtk")
def test_dcmtk_sends_and_the_bytes_are_those_of_its_file(listen: Listen, tmp_path: Path) -> None:
    listener, port = listen()
    dataset = instance()
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    pydicom.dcmwrite(tmp_path / "image.dcm", dataset, enforce_file_format=True)
    command = ["storescu", "-aec", "NEUROTRIAGE", "127.0.0.1", str(port), str(tmp_path / "image.dcm")]
    subprocess.run(command, check=True, timeout=30)
    assert pydicom.dcmread(listener.spool.waiting()[0]) == pydicom.dcmread(tmp_path / "image.dcm")
    subprocess.run(["echoscu", "-aec", "NEUROTRIAGE", "127.0.0.1", str(port)], check=True, timeout=30)


# JPEG processes 6/8 and 10/12 (retired, no decoder) and deflated; a class of nobody's.
REFUSED_SYNTAXES = {"1.2.840.10008.1.2.4.53", "1.2.840.10008.1.2.4.55", DeflatedExplicitVRLittleEndian}
REFUSED_CLASSES = {"1.2.111.10008.2.1.4.1.1.2"}


def test_every_real_instance_arrives_with_its_bytes(listen: Listen, data_dir: Path) -> None:
    listener, port = listen()
    files = list(real_files(data_dir / "dicom"))
    kinds = sorted({(file.sop_class_uid, file.transfer_syntax_uid) for file in files})
    contexts = [build_context(*kind) for kind in kinds]
    entity = AE("SENDER")
    entity.requested_contexts = contexts
    association = requestor.associate(entity, "127.0.0.1", port, called="NEUROTRIAGE")
    accepted = {(str(c.abstract_syntax), str(c.transfer_syntax[0])): c for c in association.accepted_contexts}
    expected = {kind for kind in kinds if kind[1] not in REFUSED_SYNTAXES and kind[0] not in REFUSED_CLASSES}
    assert accepted.keys() == expected
    sent = [file for file in files if (file.sop_class_uid, file.transfer_syntax_uid) in accepted]
    for file in sent:
        context = accepted[file.sop_class_uid, file.transfer_syntax_uid]
        assert status_of_bytes(association, context, file.sop_instance_uid, file.data_set) == 0
    association.release()
    assert len(sent) > 200
    assert [data_set_of(path) for path in listener.spool.waiting()] == [file.data_set for file in sent]
