"""STOW-RS: the bytes as they were written, and the answer's sequences believed, not its status."""

from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.db.rows import written
from tests.delivery.conftest import Site, black_hole
from tests.delivery.web import Service, failed, found, stored
from worker.delivery import dicomweb
from worker.delivery.dicomweb import stow_result

UID = "2.25.1"


@pytest.fixture
def service(site: Site) -> Any:
    with Service() as running:
        site.web("pacs", running.url)
        yield running


def test_objects_go_as_the_bytes_that_were_written_and_are_found_there(site: Site, service: Service) -> None:
    site.results(1, 2)
    assert site.deliver() == 2
    assert service.parts == [(site.root / written(number).path).read_bytes() for number in (1, 2)]
    assert all(site.column("found_at"))
    (first, _, query) = service.requests
    assert first[:2] == ("POST", "/dicom-web/studies/1.2.3")
    assert first[2]["Content-Type"].startswith('multipart/related; type="application/dicom"; boundary=')
    assert first[2]["Accept"] == "application/dicom+json"
    assert query[:2] == ("GET", "/dicom-web/studies/1.2.3/series/2.25.7/instances?limit=5000")


def test_the_token_comes_from_its_file_anew_for_each_study(
    site: Site, service: Service, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    site.web("pacs", service.url, token_file=str(token), find="off")
    for number in (1, 2):
        token.write_text(f"secret-{number}\n")
        site.results(number, study=f"1.2.{number}")
        site.deliver()
    sent = [headers["Authorization"] for _, _, headers in service.requests]
    assert sent == ["Bearer secret-1", "Bearer secret-2"]


@pytest.mark.parametrize("content", [None, "", "two\nlines"])
def test_a_token_that_cannot_be_used_raises_an_alarm(
    site: Site, service: Service, tmp_path: Path, content: str | None
) -> None:
    if content is not None:
        (tmp_path / "token").write_text(content)
    site.web("pacs", service.url, token_file=str(tmp_path / "token"))
    site.results(1)
    site.deliver()
    assert site.states()[0][0] == "waiting"
    assert site.states()[0][2].startswith("token_file ")
    assert all(site.column("alarmed_at"))
    assert service.requests == []


@pytest.mark.unit
@pytest.mark.parametrize(
    ("status", "answer", "state", "words"),
    [
        (200, [stored(UID)], "stored", "stored"),
        (202, [stored(UID, **{"00081196": 0xB000})], "stored", "coerced"),
        (202, [stored(UID, **{"00081196": 0x1234})], "stored", "with a warning (0x1234)"),
        (200, [], "stored", "does not name the object"),
        (202, [stored("2.25.2")], "stored", "does not name the object"),
        (409, [failed(UID, 45070)], "stored", "already has it (0xB00E)"),
        (202, [failed(UID, 45070)], "stored", "already has it (0xB00E)"),
        (200, [stored(UID, **{"00081196": 45070})], "stored", "already has it (0xB00E)"),
        (409, [failed(UID, 45071)], "stored", "is being stored (0xB00F)"),
        (200, [stored(UID, **{"00081196": 45063})], "stored", "did not match its SOP class (0xB007)"),
        (200, [failed(UID, 0xA700)], "waiting", "out of resources (0xA700)"),
        (409, [failed(UID, 0x0110)], "waiting", "failure (0x0110)"),
        (409, [failed(UID, 0x0122)], "refused", "SOP class not supported (0x0122)"),
        (409, [failed(UID, 0x0111)], "stored", "already has it"),
        (409, [failed(UID, 0xB000)], "stored", "as failed, with a warning (0xB000)"),
        (409, [failed(UID, 0)], "waiting", "failure (0x0110)"),
        (200, [{**stored(UID), **failed(UID, 0x0124)}], "refused", "not authorised"),
        (503, [], "waiting", "failure (HTTP status 503)"),
        (429, [], "waiting", "failure (HTTP status 429)"),
        (400, [], "refused", "HTTP status 400"),
        (413, [], "refused", "HTTP status 413"),
    ],
)
def test_the_sequences_tell_what_became_of_an_object(
    status: int, answer: list[dict[str, Any]], state: str, words: str
) -> None:
    verdict = stow_result(status, answer, UID)
    assert verdict.state == state
    assert words in verdict.text
    assert not verdict.alarm


@pytest.mark.unit
@pytest.mark.parametrize("status", [301, 307, 401, 403, 404, 407])
def test_what_a_person_must_correct_waits_with_an_alarm(status: int) -> None:
    verdict = stow_result(status, [], UID)
    assert (verdict.state, verdict.alarm) == ("waiting", True)


def test_a_redirect_is_not_followed(site: Site, service: Service) -> None:
    service.on_store = lambda _: (307, [])
    site.results(1)
    site.deliver()
    assert len(service.requests) == 1


@pytest.mark.parametrize(
    "nonsense", [b"", b"<html>", b"[" * 100_000, b'{"00081199": 7}', b'[{"00081199": {}}]']
)
def test_an_answer_that_cannot_be_read_is_no_success_and_ends(
    site: Site, service: Service, nonsense: bytes
) -> None:
    service.on_store = lambda _: (200, nonsense)
    service.on_query = lambda _: (501, [])
    site.results(1)
    for _ in range(6):
        site.deliver()
        site.let_time_pass()
    assert site.states()[0][0] == "given_up"
    assert len(service.parts) == 4


def test_one_refused_object_does_not_hold_up_the_others(site: Site, service: Service) -> None:
    service.on_store = lambda uid: (409, failed(uid, 0xC000)) if uid == UID else (200, stored(uid))
    site.results(1, 2, 3)
    assert site.deliver() == 2
    assert [state for state, _, _ in site.states()] == ["refused", "stored", "stored"]


def test_success_without_storing_is_seen(site: Site, service: Service) -> None:
    service.on_query = lambda _: (200, [])
    site.results(1)
    for _ in range(40):
        site.deliver()
        site.let_time_pass()
    assert len(service.parts) == 3
    assert all(site.column("alarmed_at"))
    assert site.column("state") == ["stored"]


@pytest.mark.parametrize("status", [400, 404, 405, 501])
def test_a_service_that_only_stores_is_no_reason_for_an_alarm(
    site: Site, service: Service, status: int
) -> None:
    service.on_query = lambda _: (status, [])
    site.results(1)
    site.deliver()
    assert site.column("proof_due_at") == site.column("alarmed_at") == [None]


def test_a_series_that_is_not_found_is_not_a_service_that_is_not_there(site: Site, service: Service) -> None:
    service.on_query = lambda path: (404, []) if "/series" in path else (200, found())
    site.results(1)
    site.deliver()
    assert site.column("proof") == ["not found there yet"]


def test_a_service_that_is_down_holds_up_all_with_one_try(site: Site) -> None:
    with Service() as gone:
        url = gone.url
    site.web("pacs", url)
    site.results(1, 2)
    site.deliver()
    ((_, _, sentence), _) = site.states()
    assert [(state, attempts) for state, attempts, _ in site.states()] == [("waiting", 1)] * 2
    assert sentence.startswith(f"{url} does not answer")


def test_a_service_that_hangs_is_waited_for_within_limits(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "_TIMEOUT", httpx.Timeout(0.5))
    with black_hole() as port:
        site.web("pacs", f"http://127.0.0.1:{port}/dicom-web")
        site.results(1, 2)
        site.deliver()
    assert [(state, attempts) for state, attempts, _ in site.states()] == [("waiting", 1)] * 2


def test_a_service_that_answers_drop_by_drop_is_cut_off(
    site: Site, service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "_ANSWER_LIMIT_BYTES", 1000)
    service.on_store = lambda _: (200, b" " * 100_000)
    site.results(1)
    site.deliver()
    assert site.states()[0][0] == "waiting"
    assert "no end" in site.states()[0][2]
