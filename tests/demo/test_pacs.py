"""The stand-in PACS and the sender, over real associations."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
    generate_uid,
)
from pynetdicom import AE, VerificationPresentationContexts, evt

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.send import SendingFailed, send


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path / "pacs", ae_title="PACS") as running:
        yield running


def instance(sop_class: str = SecondaryCaptureImageStorage, value: int = 1) -> Dataset:
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, generate_uid()
    dataset.Rows = dataset.Columns = 4
    dataset.BitsAllocated, dataset.PixelRepresentation = 8, 0
    dataset.PixelData = np.full((4, 4), value, np.uint8).tobytes()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return dataset


def test_the_pacs_keeps_what_it_is_sent(pacs: StandInPacs, tmp_path: Path) -> None:
    sent = [instance(value=n) for n in range(3)] + [instance(ComputedRadiographyImageStorage)]
    file = tmp_path / "in a file.dcm"
    sent[0].save_as(file, enforce_file_format=True)
    seen: list[tuple[int, int]] = []
    report = send(
        [file, *sent[1:]],
        pacs.host,
        pacs.port,
        called="PACS",
        progress=lambda done, total: seen.append((done, total)),
    )
    assert str(report) == "4 of 4 instances stored"
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert list(pacs.received()) == [dataset.SOPInstanceUID for dataset in sent]
    for dataset in sent:
        assert dcmread(pacs.received()[dataset.SOPInstanceUID]).PixelData == dataset.PixelData


def test_an_instance_sent_twice_is_one_file_and_two_stores(pacs: StandInPacs) -> None:
    one = instance()
    send([one, one], pacs.host, pacs.port, called="PACS")
    assert len(pacs.received()) == 1
    assert pacs.stores == 2


def test_a_refusal_says_its_status_and_keeps_nothing(pacs: StandInPacs) -> None:
    pacs.answer = 0xA700
    one = instance()
    report = send([one], pacs.host, pacs.port, called="PACS")
    assert report.refused == ((one.SOPInstanceUID, "refused with status 0xA700"),)
    assert not pacs.received()
    assert pacs.stores == 1
    pacs.answer = 0x0000
    assert len(send([one], pacs.host, pacs.port, called="PACS").stored) == 1


def test_waiting_ends_with_the_last_instance_or_with_the_time(pacs: StandInPacs) -> None:
    assert not pacs.wait_for(1, timeout_s=0.05)
    sender = threading.Timer(0.2, send, ([instance(), instance()], pacs.host, pacs.port), {"called": "PACS"})
    sender.start()
    assert pacs.wait_for(2, timeout_s=10)
    sender.join()


def test_a_pacs_that_went_down_comes_back_on_its_port_with_what_it_had(pacs: StandInPacs) -> None:
    send([instance()], pacs.host, pacs.port, called="PACS")
    port = pacs.port
    pacs.stop()
    with pytest.raises(SendingFailed, match="does not answer"):
        send([instance()], pacs.host, port, called="PACS")
    pacs.start()
    assert pacs.port == port
    send([instance()], pacs.host, port, called="PACS")
    assert len(pacs.received()) == 2


def test_the_pacs_answers_an_echo(pacs: StandInPacs) -> None:
    ae = AE()
    ae.requested_contexts = VerificationPresentationContexts
    association = ae.associate(pacs.host, pacs.port)
    assert association.send_c_echo().Status == 0x0000
    association.release()


def test_a_file_that_is_no_dicom_is_named_and_the_others_are_sent(pacs: StandInPacs, tmp_path: Path) -> None:
    text = tmp_path / "notes.dcm"
    text.write_text("no DICOM")
    report = send([text, instance()], pacs.host, pacs.port, called="PACS")
    assert len(report.stored) == 1
    assert "1 of 2 instances stored" in str(report)
    assert "notes.dcm: not a DICOM instance" in str(report)


def test_an_object_for_which_no_context_was_accepted_is_reported() -> None:
    ae = AE()
    ae.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    assert server is not None
    port = server.server_address[1]
    wanted, unknown = instance(), instance(ComputedRadiographyImageStorage)
    try:
        report = send([wanted, unknown], "127.0.0.1", port, called="ANY")
        assert report.stored == (wanted.SOPInstanceUID,)
        assert [name for name, _ in report.refused] == [unknown.SOPInstanceUID]
        with pytest.raises(SendingFailed, match="accepts none"):
            send([unknown], "127.0.0.1", port, called="ANY")
    finally:
        ae.shutdown()


def test_a_receiver_that_refuses_our_association_is_named_with_its_reason() -> None:
    ae = AE(ae_title="CHOOSY")
    ae.require_called_aet = True
    ae.add_supported_context(SecondaryCaptureImageStorage)
    server = ae.start_server(("127.0.0.1", 0), block=False)
    assert server is not None
    try:
        with pytest.raises(SendingFailed, match=r"OTHER at .* refused the association: Called AE title"):
            send([instance()], "127.0.0.1", server.server_address[1], called="OTHER")
    finally:
        ae.shutdown()
