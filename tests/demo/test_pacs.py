"""The stand-in PACS, over real associations: it keeps what it is sent, and offers no more than it says."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    DeflatedExplicitVRLittleEndian,
    JPEGLSLossless,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.sop_class import (
    PatientRootQueryRetrieveInformationModelFind,
    StorageCommitmentPushModel,
    StudyRootQueryRetrieveInformationModelFind,
    StudyRootQueryRetrieveInformationModelMove,
    Verification,
)

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.send import SendingFailed, send
from tests.demo.instances import instance


@pytest.fixture
def pacs(tmp_path: Path) -> Iterator[StandInPacs]:
    with StandInPacs(tmp_path / "pacs", ae_title="PACS") as running:
        yield running


def association(pacs: StandInPacs, *contexts: tuple[str, str | None]) -> Association:
    ae = AE(ae_title="VIEWER")
    for sop_class, syntax in contexts:
        ae.add_requested_context(sop_class, syntax)
    return ae.associate(pacs.host, pacs.port, ae_title=pacs.ae_title)


def test_the_pacs_keeps_what_it_is_sent(pacs: StandInPacs, tmp_path: Path) -> None:
    sent = [instance(value=n) for n in range(3)] + [instance(ComputedRadiographyImageStorage)]
    file = tmp_path / "in a file.dcm"
    sent[0].save_as(file, enforce_file_format=True)
    report = send([file, *sent[1:]], pacs.host, pacs.port, called="PACS")
    assert str(report) == "4 of 4 instances stored"
    assert list(pacs.received()) == [dataset.SOPInstanceUID for dataset in sent]
    for dataset in sent:
        kept = dcmread(pacs.received()[dataset.SOPInstanceUID])
        assert kept.PixelData == dataset.PixelData
        assert kept.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert kept.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID


def test_a_compressed_object_is_kept_as_it_came(pacs: StandInPacs) -> None:
    compressed = instance(pixels=8)
    compressed.compress(JPEGLSLossless, generate_instance_uid=False)
    send([compressed], pacs.host, pacs.port, called="PACS")
    kept = dcmread(pacs.received()[compressed.SOPInstanceUID])
    assert kept.file_meta.TransferSyntaxUID == JPEGLSLossless
    assert kept.PixelData == compressed.PixelData


def test_files_are_named_by_number_and_not_by_what_the_network_says(
    pacs: StandInPacs, tmp_path: Path
) -> None:
    send([instance(), instance()], pacs.host, pacs.port, called="PACS")
    assert sorted(p.name for p in (tmp_path / "pacs").iterdir()) == ["00001.dcm", "00002.dcm"]


def test_an_instance_sent_twice_is_one_file_and_two_stores(pacs: StandInPacs) -> None:
    repeated = instance()
    send([repeated, repeated], pacs.host, pacs.port, called="PACS")
    assert len(pacs.received()) == 1
    assert pacs.stores == 2


def test_an_instance_sent_again_with_other_pixels_replaces_the_first(pacs: StandInPacs) -> None:
    first, second = instance(value=1), instance(value=2)
    second.SOPInstanceUID = first.SOPInstanceUID
    for version in (first, second):
        send([version], pacs.host, pacs.port, called="PACS")
    assert dcmread(pacs.received()[first.SOPInstanceUID]).PixelData == second.PixelData


def test_two_senders_at_once_lose_nothing(pacs: StandInPacs) -> None:
    sets = [[instance(value=n) for n in range(10)] for _ in range(2)]
    senders = [
        threading.Thread(target=send, args=(sent, pacs.host, pacs.port), kwargs={"called": "PACS"})
        for sent in sets
    ]
    for sender in senders:
        sender.start()
    for sender in senders:
        sender.join(60)
    assert set(pacs.received()) == {dataset.SOPInstanceUID for sent in sets for dataset in sent}
    assert len(set(pacs.received().values())) == 20
    for dataset in (dataset for sent in sets for dataset in sent):
        assert dcmread(pacs.received()[dataset.SOPInstanceUID]).PixelData == dataset.PixelData


def test_a_refusal_says_its_status_and_keeps_nothing(pacs: StandInPacs) -> None:
    pacs.answer = 0xA700
    refused = instance()
    report = send([refused], pacs.host, pacs.port, called="PACS")
    assert report.refused == ((refused.SOPInstanceUID, "refused with status 0xA700"),)
    assert not pacs.received()
    assert pacs.stores == 1
    pacs.answer = 0x0000
    assert len(send([refused], pacs.host, pacs.port, called="PACS").stored) == 1


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
    peer = association(pacs, (Verification, None))
    assert peer.send_c_echo().Status == 0x0000
    peer.release()


@pytest.mark.parametrize(
    "sop_class",
    [
        StudyRootQueryRetrieveInformationModelFind,
        PatientRootQueryRetrieveInformationModelFind,
        StudyRootQueryRetrieveInformationModelMove,
        StorageCommitmentPushModel,
    ],
)
def test_the_pacs_offers_neither_query_nor_commitment(pacs: StandInPacs, sop_class: str) -> None:
    peer = association(pacs, (Verification, None), (sop_class, None))
    assert [str(c.abstract_syntax) for c in peer.accepted_contexts] == [Verification]
    peer.release()


def test_a_transfer_syntax_that_it_does_not_list_is_not_accepted(pacs: StandInPacs) -> None:
    contexts = ((Verification, None), (SecondaryCaptureImageStorage, DeflatedExplicitVRLittleEndian))
    peer = association(pacs, *contexts)
    assert [str(c.abstract_syntax) for c in peer.rejected_contexts] == [SecondaryCaptureImageStorage]
    peer.release()


def test_what_was_received_is_a_copy_that_does_not_grow(pacs: StandInPacs) -> None:
    before = pacs.received()
    send([instance()], pacs.host, pacs.port, called="PACS")
    assert not before
    assert len(pacs.received()) == 1
