"""The children that read headers, without a database."""

import select

import pytest

from dicom_listener.ingest.header_reader import ReadRequest
from dicom_listener.ingest.header_readers import HeaderReaders
from dicom_listener.spool import Spool
from neurotriage.dicom.headers import InstanceHeader
from tests.listener.conftest import instance, spooled

pytestmark = pytest.mark.unit

ANSWER_S = 30.0


def test_an_answer_that_is_fetched_late_is_no_slow_file(spool: Spool) -> None:
    spooled(spool, instance(number=1))
    spooled(spool, instance(number=2))
    first, second = (ReadRequest("header", path) for path in spool.waiting())
    with HeaderReaders(slice_s=10.0) as readers:
        readers.ask(first)
        assert [request for request, _ in readers.answers(ANSWER_S)] == [first]
        readers.ask(second)
        (child,) = readers._fast
        answered = select.poll()
        answered.register(child.output, select.POLLIN)
        assert answered.poll(1000 * ANSWER_S)
        child.since -= 11  # the caller was busy with something else for so long
        ((request, read),) = readers.answers(ANSWER_S)
        assert request == second
        assert isinstance(read, InstanceHeader)
        assert readers.slow == []
        assert readers.pids == [child.pid]
