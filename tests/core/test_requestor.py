"""The repair to pynetdicom's requestor."""

from pathlib import Path

from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.dimse_primitives import C_STORE

from neurotriage.core.requestor import keep_answers
from neurotriage.demo.pacs import StandInPacs

MR = "1.2.840.10008.5.1.4.1.1.4"


def test_an_answer_that_the_reactor_took_goes_back_to_the_sender(tmp_path: Path) -> None:
    answer = C_STORE()
    answer.MessageIDBeingRespondedTo = 1
    answer.Status = 0x0000
    with StandInPacs(tmp_path, ae_title="PACS") as pacs:
        ae = AE("SENDER")
        ae.add_requested_context(MR, ImplicitVRLittleEndian)
        association = keep_answers(ae.associate("127.0.0.1", pacs.port, ae_title="PACS"))
        assert association.is_established
        association._reactor_checkpoint.clear()  # as while a request is under way
        association._serve_request(answer, 1)
        assert association.dimse.get_msg(block=True) == (1, answer)
        association._reactor_checkpoint.set()
        association.release()
