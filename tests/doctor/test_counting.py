"""What is told of the peers that count instances."""

import pytest

from neurotriage.doctor import State
from neurotriage.doctor.counting import look_at_counts
from neurotriage.embedded.process import free_port
from tests.doctor.looks import settings
from tests.listener.test_counting import archive

pytestmark = pytest.mark.unit


def test_a_peer_that_answers_is_fine_and_one_that_does_not_is_named() -> None:
    with archive() as (port, _):
        peers = [
            {"ae_title": "CT", "host": "127.0.0.1", "port": port, "count": True},
            {"ae_title": "MR", "host": "127.0.0.1", "port": free_port(), "count": True},
            {"ae_title": "OTHER", "host": "127.0.0.1", "port": 104},
        ]
        checks = list(look_at_counts(settings(peer=peers, assembly={"count_timeout_s": 2})))
    assert [(check.subject, check.state) for check in checks] == [("CT", State.OK), ("MR", State.WARNING)]


def test_a_counting_peer_that_nobody_knows_is_told() -> None:
    (check,) = look_at_counts(settings(assembly={"count_peer": "PACS"}))
    assert "no [[peer]] with a port has the AE title PACS" in check.said
    assert list(look_at_counts(settings())) == []
