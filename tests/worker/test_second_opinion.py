"""A vision model's second opinion is told as advice, and no longer than it stands."""

import json

import pytest

from tests.summary.chat_server import answers, arranges, fails
from tests.worker.asking import (
    asked_again,
    asking,
    origins,
    reconfigure,
    reports_and_pages,
    requests,
    summarised,
)
from tests.worker.test_living_results import model
from tests.worker.test_tasks import WorkerSite, site

__all__ = ["model", "site"]  # fixtures
pytestmark = pytest.mark.usefixtures("model")

OPINION = json.dumps({"verdict": "tumour", "half": "left", "confidence": 80})
WANTED = {"provider": "groq"}


class _FindsNothing:
    def finds(self, picture: object) -> bool:
        return False


class _FindsText:
    def finds(self, picture: object) -> bool:
        return True


@pytest.fixture
def no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.second_opinion.seeking._text_finder", _FindsNothing)


@pytest.mark.usefixtures("no_text")
def test_a_second_opinion_is_said_as_advice_and_changes_no_answer(site: WorkerSite) -> None:
    with asking(site, answers(OPINION), provider="none", opinion=WANTED) as chat:
        before = site.rows("select outcome, triage from analyses")
        summarised(site)
    assert requests(site) == [("accepted", "")]
    assert site.rows("select outcome, triage from analyses") == before
    ((sentence,),) = site.rows(
        "select s ->> 'text' from summaries, jsonb_array_elements(sentences) s "
        "where s ->> 'phrase' like 'opinion%'"
    )
    assert sentence == "A second model (advice only) was shown a few slices and disagrees: tumour (80 %)."
    (request,) = chat.requests
    shown = [part for part in request["messages"][1]["content"] if part["type"] == "image_url"]
    assert 1 <= len(shown) <= 3
    kept = json.dumps(site.rows("select request from summary_exchanges")[0][0])
    assert "base64" not in kept
    assert "sha256" in kept


@pytest.mark.usefixtures("no_text")
def test_the_language_model_tells_of_the_second_opinion(site: WorkerSite) -> None:
    with asking(site, answers(OPINION), arranges, opinion=WANTED):
        summarised(site)
    assert origins(site) == ["template", "model"]
    assert site.rows("select facts #>> '{opinion,verdict}' from summaries order by id desc limit 1") == [
        ("tumour",)
    ]


def test_no_picture_is_sent_without_consent(site: WorkerSite) -> None:
    with asking(site, answers(OPINION), provider="none", opinion={**WANTED, "send_pixels": False}) as chat:
        summarised(site)
    assert (requests(site), chat.bodies) == ([], [])


def test_no_picture_is_sent_where_text_is_found(site: WorkerSite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.second_opinion.seeking._text_finder", _FindsText)
    with asking(site, arranges, opinion=WANTED) as chat:
        summarised(site)
    assert requests(site) == [("accepted", "")]
    assert site.rows("select opinion_reason from summary_requests") == [
        ("withheld: text was found in a slice",)
    ]
    assert all("image_url" not in body.decode() for body in chat.bodies)


@pytest.mark.usefixtures("no_text")
@pytest.mark.parametrize(
    "answer", ["no", '{"verdict": "glioblastoma", "half": "left", "confidence": 80}', "{}"]
)
def test_an_opinion_in_other_words_is_none(site: WorkerSite, answer: str) -> None:
    with asking(site, answers(answer), provider="none", opinion=WANTED):
        summarised(site)
    assert requests(site) == [("refused", "")]
    assert site.rows("select opinion_reason from summary_requests") == [
        ("not_an_answer: the answer is not the JSON asked for",)
    ]
    assert origins(site) == ["template"]


@pytest.mark.usefixtures("no_text")
@pytest.mark.parametrize("failing", [True, False], ids=["fails", "is not wanted any more"])
def test_an_opinion_is_told_no_longer_than_it_stands(site: WorkerSite, failing: bool) -> None:
    with asking(site, answers(OPINION), opinion=WANTED, provider="none") as chat:
        summarised(site)
        shown = [kind for kind, old in reports_and_pages(site) if not old]
        assert sorted(shown) == ["page", "pdf", "report"]
        chat.behaviours[:] = [fails(500)]
        if not failing:
            opinion = site.worker.settings.summary.second_opinion.model_dump()
            reconfigure(site, second_opinion={**opinion, "provider": "none"}, provider="groq")
        asked_again(site)
    ((facts,),) = site.rows("select facts from summaries order by id desc limit 1")
    assert facts["opinion"] is None
    standing = [kind for kind, old in reports_and_pages(site) if not old]
    assert sorted(standing) == ["page", "pdf", "report"]
    assert len(reports_and_pages(site)) == 9  # the page without the opinion is another object, too


@pytest.mark.usefixtures("no_text")
def test_the_same_opinion_again_makes_nothing(site: WorkerSite) -> None:
    with asking(site, answers(OPINION), opinion=WANTED, provider="none"):
        summarised(site)
        before = reports_and_pages(site)
        assert asked_again(site) == ()
    assert reports_and_pages(site) == before
