"""The sender, over real associations: whatever is not stored is named, with the reason."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import (
    ComputedRadiographyImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    SecondaryCaptureImageStorage,
)
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.events import EventHandlerType

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.send import SendingFailed, SendReport, send
from neurotriage.embedded.process import free_port
from tests.demo.instances import instance

LOCAL = "127.0.0.1"


@contextmanager
def receiver(*handlers: EventHandlerType, ae: AE | None = None) -> Iterator[int]:
    """An SCP for Secondary Captures of our own choosing; its port."""
    entity = ae or AE(ae_title="PACS")
    entity.add_supported_context(SecondaryCaptureImageStorage, ExplicitVRLittleEndian)
    server = entity.start_server((LOCAL, 0), block=False, evt_handlers=list(handlers))
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        entity.shutdown()


def test_a_file_that_is_no_dicom_is_named_and_the_others_are_sent(tmp_path: Path) -> None:
    text = tmp_path / "notes.dcm"
    text.write_text("no DICOM")
    with StandInPacs(tmp_path / "pacs") as pacs:
        report = send([text, instance()], pacs.host, pacs.port, called="PACS")
    assert len(report.stored) == 1
    assert "1 of 2 instances stored" in str(report)
    assert "notes.dcm: not a DICOM instance" in str(report)


def test_a_dataset_without_a_sop_class_is_named_and_the_others_are_sent(tmp_path: Path) -> None:
    nameless, whole = instance(), instance()
    del nameless.SOPClassUID
    with StandInPacs(tmp_path / "pacs") as pacs:
        report = send([nameless, whole], pacs.host, pacs.port, called="PACS")
    assert report.stored == (whole.SOPInstanceUID,)
    assert [name for name, _ in report.refused] == [nameless.SOPInstanceUID]


def test_a_file_goes_in_the_transfer_syntax_that_it_has(tmp_path: Path) -> None:
    implicit = instance()
    implicit.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
    implicit.save_as(tmp_path / "implicit.dcm", implicit_vr=True, enforce_file_format=True)
    with StandInPacs(tmp_path / "pacs") as pacs:
        send([tmp_path / "implicit.dcm", instance()], pacs.host, pacs.port, called="PACS")
        syntaxes = [dcmread(path).file_meta.TransferSyntaxUID for path in pacs.received().values()]
    assert syntaxes == [ImplicitVRLittleEndian, ExplicitVRLittleEndian]


def test_both_ae_titles_reach_the_receiver() -> None:
    titles: list[tuple[str, str]] = []

    def note(event: evt.Event) -> None:
        titles.append((event.assoc.requestor.ae_title, event.assoc.acceptor.primitive.called_ae_title))

    with receiver((evt.EVT_C_STORE, lambda _: 0), (evt.EVT_ACCEPTED, note)) as port:
        send([instance()], LOCAL, port, called="PACS", calling="MODALITY")
        send([instance()], LOCAL, port, called="PACS")
    assert titles == [("MODALITY", "PACS"), ("SENDER", "PACS")]


def test_all_instances_go_in_one_association_that_is_released() -> None:
    ends: list[str] = []
    handlers = [
        (evt.EVT_C_STORE, lambda _: 0),
        (evt.EVT_RELEASED, lambda _: ends.append("released")),
        (evt.EVT_ABORTED, lambda _: ends.append("aborted")),
    ]
    with receiver(*handlers) as port:
        send([instance() for _ in range(3)], LOCAL, port, called="PACS")
    assert ends == ["released"]


def test_an_object_for_which_no_context_was_accepted_is_reported() -> None:
    wanted, unknown = instance(), instance(ComputedRadiographyImageStorage)
    with receiver((evt.EVT_C_STORE, lambda _: 0)) as port:
        report = send([wanted, unknown], LOCAL, port, called="ANY")
        assert report.stored == (wanted.SOPInstanceUID,)
        assert [name for name, _ in report.refused] == [unknown.SOPInstanceUID]
        with pytest.raises(SendingFailed, match=r"ANY at .* accepts none of the 1 kinds of object offered"):
            send([unknown], LOCAL, port, called="ANY")


def test_a_receiver_that_refuses_our_association_is_named_with_its_reason() -> None:
    choosy = AE(ae_title="CHOOSY")
    choosy.require_called_aet = True
    with (
        receiver(ae=choosy) as port,
        pytest.raises(
            SendingFailed, match=rf"^OTHER at 127.0.0.1:{port} refused the association: Called AE title"
        ),
    ):
        send([instance()], LOCAL, port, called="OTHER")


def test_a_receiver_that_does_not_know_the_sender_is_named_with_its_reason() -> None:
    choosy = AE(ae_title="PACS")
    choosy.require_calling_aet = ["MODALITY"]
    with receiver(ae=choosy) as port, pytest.raises(SendingFailed, match="Calling AE title not recognised"):
        send([instance()], LOCAL, port, called="PACS", calling="STRANGER")


def test_a_port_on_which_nobody_listens_is_named() -> None:
    port = free_port()
    with pytest.raises(SendingFailed, match=rf"^PACS at 127.0.0.1:{port} does not answer$"):
        send([instance()], LOCAL, port, called="PACS")


def test_an_association_that_ends_in_the_middle_names_the_instance_at_which_it_ended() -> None:
    sent = [instance() for _ in range(3)]

    def abort_at_the_second(event: evt.Event) -> int:
        if event.request.AffectedSOPInstanceUID == sent[1].SOPInstanceUID:
            event.assoc.abort()
        return 0

    with (
        receiver((evt.EVT_C_STORE, abort_at_the_second)) as port,
        pytest.raises(SendingFailed, match=rf"the association ended .*{sent[1].SOPInstanceUID}"),
    ):
        send(sent, LOCAL, port, called="PACS")


def test_a_failure_of_one_instance_keeps_no_other_from_being_sent() -> None:
    sent = [instance() for _ in range(3)]

    def refuse_the_second(event: evt.Event) -> int:
        return 0xA900 if event.request.AffectedSOPInstanceUID == sent[1].SOPInstanceUID else 0

    with receiver((evt.EVT_C_STORE, refuse_the_second)) as port:
        report = send(sent, LOCAL, port, called="PACS")
    assert report.stored == (sent[0].SOPInstanceUID, sent[2].SOPInstanceUID)
    assert report.refused == ((sent[1].SOPInstanceUID, "refused with status 0xA900"),)


@pytest.mark.unit
def test_without_any_instance_there_is_no_association(tmp_path: Path) -> None:
    with pytest.raises(SendingFailed, match="there is no DICOM instance to send"):
        send([], LOCAL, free_port(), called="PACS")
    (tmp_path / "notes.txt").write_text("no DICOM")
    with pytest.raises(SendingFailed, match="there is no DICOM instance to send"):
        send([tmp_path / "notes.txt"], LOCAL, free_port(), called="PACS")


@pytest.mark.unit
def test_more_kinds_of_object_than_an_association_carries_are_told() -> None:
    """PS3.8 9.3.2.2: presentation context ids are odd numbers from 1 to 255."""
    kinds = [str(context.abstract_syntax) for context in AllStoragePresentationContexts[:129]]
    with pytest.raises(SendingFailed, match="129 kinds of object are more than one association can carry"):
        send([instance(sop_class) for sop_class in kinds], LOCAL, free_port(), called="PACS")


@pytest.mark.unit
def test_a_report_names_five_refusals_and_counts_the_others() -> None:
    report = SendReport(("a",), tuple((f"file{n}", "no") for n in range(7)))
    assert str(report) == (
        "1 of 8 instances stored; file0: no; file1: no; file2: no; file3: no; file4: no; and 2 more"
    )
    assert str(SendReport(("a",), (("b", "no"),))) == "1 of 2 instances stored; b: no"
