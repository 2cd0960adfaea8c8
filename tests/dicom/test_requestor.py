"""What pynetdicom's requestor gets wrong is put right."""

import threading
import time
from pathlib import Path

import pytest
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE, evt
from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse_primitives import C_STORE

from neurotriage.demo.pacs import StandInPacs
from neurotriage.dicom.requestor import associate

MR = "1.2.840.10008.5.1.4.1.1.4"
VERIFICATION = "1.2.840.10008.1.1"


def established(port: int, context: str) -> Association:
    ae = AE("SENDER")
    ae.add_requested_context(context, ImplicitVRLittleEndian)
    association = associate(ae, "127.0.0.1", port, called="PACS")
    assert association.is_established
    return association


def test_an_answer_that_the_reactor_took_goes_back_to_the_sender(tmp_path: Path) -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 1
    answer.Status = 0x0000
    with StandInPacs(tmp_path, ae_title="PACS") as pacs:
        association = established(pacs.port, MR)
        association._reactor_checkpoint.clear()  # as while a request is under way
        association._serve_request(answer, 1)
        assert association.dimse.get_msg(block=True) == (1, answer)
        association._reactor_checkpoint.set()
        association.release()


def test_a_sender_whose_peer_aborts_knows_at_once_that_the_association_ended() -> None:
    def aborts(event: evt.Event) -> int:
        event.assoc.abort()
        return 0x0000

    peer = AE("PACS")
    peer.add_supported_context(VERIFICATION)
    server = peer.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_ECHO, aborts)])
    try:
        association = established(server.server_address[1], VERIFICATION)
        aborted = association.acse.is_aborted

        def noticed_late(kind: str = "both") -> bool:
            if threading.current_thread() is association:
                time.sleep(0.3)
            return aborted(kind)

        association.acse.is_aborted = noticed_late  # type: ignore[method-assign]
        assert "Status" not in association.send_c_echo()
        assert not association.is_established
    finally:
        server.shutdown()


def test_a_peer_that_rejects_at_once_is_not_taken_for_one_that_is_away(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    request = ACSE.send_request

    def sent_and_answered(acse: ACSE) -> None:
        """The sender goes on only when the rejection is there and the connection is closed."""
        request(acse)
        acse.socket._ready.wait(10)
        end = time.monotonic() + 10
        while acse.socket._is_connected and time.monotonic() < end:
            time.sleep(0.01)

    monkeypatch.setattr(ACSE, "send_request", sent_and_answered)
    peer = AE("PACS")
    peer.add_supported_context(VERIFICATION)
    peer.require_calling_aet = ["OTHER"]
    server = peer.start_server(("127.0.0.1", 0), block=False)
    try:
        ae = AE("SENDER")
        ae.add_requested_context(VERIFICATION, ImplicitVRLittleEndian)
        association = associate(ae, "127.0.0.1", server.server_address[1], called="PACS")
        assert association.is_rejected
        assert association.acceptor.primitive.diagnostic == 3  # PS3.8 table 9-21: calling AE title not known
    finally:
        server.shutdown()
