"""What may be there is asked for before it is sent again or given up, and the proof is believed."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from tests.delivery.archive import Archive
from tests.delivery.conftest import Site, uid_of
from tests.delivery.web import Service, failed, found, stored


@pytest.fixture
def service(site: Site) -> Iterator[Service]:
    with Service() as running:
        site.web("pacs", running.url)
        yield running


def _only_once(answer: int) -> Callable[[evt.Event], int]:
    """The archive keeps each object, and answers a resend otherwise."""
    seen: set[str] = set()

    def store(event: evt.Event) -> int:
        again = uid_of(event) in seen
        seen.add(uid_of(event))
        return answer if again else 0x0110

    return store


@pytest.mark.parametrize("status", [0xA700, 0x0110, 0xA900, 0xC000, 0x0124])
def test_an_object_that_is_there_is_not_sent_again(site: Site, status: int) -> None:
    with Archive() as archive:
        archive.on_store = _only_once(status)
        site.destination("pacs", archive.port)
        site.results(1, 2)
        assert site.deliver() == 0
        site.let_time_pass()
        assert site.deliver() == 2
    assert archive.stores == ["2.25.1", "2.25.2"]
    assert all(site.column("found_at"))
    assert site.column("alarmed_at") == [None, None]


def test_a_resend_that_is_refused_by_an_archive_that_has_it_ends_as_stored(site: Site) -> None:
    """Its index lags behind, so that only the query after the refusal finds the object."""
    with Archive() as archive:
        archive.on_store = _only_once(0xC000)
        asked: list[str] = []

        def lags(identifier: Dataset) -> Iterator[tuple[int, Dataset | None]]:
            asked.append(identifier.SeriesInstanceUID)
            if len(asked) > 1:
                match = Dataset()
                match.SeriesInstanceUID, match.SOPInstanceUID = identifier.SeriesInstanceUID, "2.25.1"
                yield 0xFF00, match
            yield 0x0000, None

        archive.on_query = lags
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        site.let_time_pass()
        assert site.deliver() == 1
    assert archive.stores == ["2.25.1", "2.25.1"]
    assert site.states()[0][0] == "stored"
    assert all(site.column("found_at"))


def test_what_was_lost_and_is_refused_since_ends_after_a_few_tries(site: Site) -> None:
    """No query can be made: a resend after success is not tried for days under alarm."""
    with Archive(finds=False) as archive:
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        site.execute(
            "update deliveries set state = 'waiting', attempts = 0, resends = 1, next_try_at = now()"
        )
        archive.on_store = lambda _: 0xA700
        for _ in range(10):
            site.deliver()
            site.let_time_pass()
    assert len(archive.stores) == 1 + 4
    ((state, _, words),) = site.states()
    assert state == "given_up"
    assert "answered with success before" in words


def test_before_it_is_given_up_an_object_is_asked_for(site: Site) -> None:
    site.choose(delivery={"max_attempts": 2})
    with Archive(keeps=False) as archive:
        archive.on_store = lambda _: 0xA700
        site.destination("pacs", archive.port)
        site.results(1)
        site.deliver()
        archive.keeps = True  # it keeps the second one, in spite of what it says
        site.let_time_pass()
        assert site.deliver() == 1
    assert site.states()[0][0] == "stored"


@pytest.mark.parametrize("body", [b"", b"<NativeDicomModel/>", b"{}", b"[]"])
@pytest.mark.parametrize("status", [200, 202])
def test_http_success_that_names_no_object_is_proven_by_query(
    site: Site, service: Service, status: int, body: bytes
) -> None:
    service.on_store = lambda _: (status, body)
    site.results(1, 2)
    assert site.deliver() == 2
    assert all(site.column("found_at"))
    assert len(service.parts) == 2


def test_http_success_that_is_not_found_yet_is_looked_for_and_then_sent_again(
    site: Site, service: Service
) -> None:
    service.on_store = lambda _: (200, b"")
    service.on_query = lambda _: (200, [])
    site.results(1)
    site.deliver()
    assert site.column("state") == ["stored"]
    assert site.column("proof") == ["not found there yet"]
    for _ in range(40):
        site.deliver()
        site.let_time_pass()
    assert len(service.parts) == 3
    assert all(site.column("alarmed_at"))
    assert site.column("found_at") == [None]


@pytest.mark.parametrize("reason", [45070, 45071, 0xB000])
@pytest.mark.parametrize("status", [409, 202])
def test_what_a_web_archive_has_already_is_stored_and_proven(
    site: Site, service: Service, status: int, reason: int
) -> None:
    service.on_store = lambda uid: (status, failed(uid, reason))
    site.results(1)
    assert site.deliver() == 1
    assert all(site.column("found_at"))


@pytest.mark.parametrize("answer", [failed("2.25.1", 45071), b"<html>conflict</html>"])
def test_a_conflict_over_an_object_that_is_not_there_is_no_success_for_ever(
    site: Site, service: Service, answer: Any
) -> None:
    service.on_store = lambda _: (409, answer)
    service.on_query = lambda _: (200, [])
    site.results(1)
    for _ in range(40):
        site.deliver()
        site.let_time_pass()
    assert site.column("found_at") == [None]
    assert site.column("state") == ["refused"] or all(site.column("alarmed_at"))
    assert len(service.parts) <= 4


def test_a_conflict_that_names_nothing_is_asked_about(site: Site, service: Service) -> None:
    service.on_store = lambda _: (409, b"<html>it is there</html>")
    site.results(1)
    assert site.deliver() == 1
    assert all(site.column("found_at"))


def test_a_failure_that_passes_is_sent_again_once_it_is_known_not_to_be_there(
    site: Site, service: Service
) -> None:
    service.on_store = lambda _: (503, [])
    service.on_query = lambda _: (200, [])
    site.results(1)
    site.deliver()
    service.on_store = lambda uid: (200, stored(uid))
    site.let_time_pass()
    assert site.deliver() == 1
    assert len(service.parts) == 2


def test_a_web_archive_that_stored_before_it_failed_gets_nothing_twice(site: Site, service: Service) -> None:
    service.on_store = lambda _: (503, [])
    service.on_query = lambda _: (200, found("2.25.1"))
    site.results(1)
    site.deliver()
    site.let_time_pass()
    assert site.deliver() == 1
    assert len(service.parts) == 1
