"""A language model's text is used only where every sentence is true; every fault ends in the template's."""

import json
import socket
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from neurotriage.core.settings import SecondOpinionSettings, SummarySettings
from neurotriage.core.summary import Language, Origin
from tests.summary import made
from tests.summary.chat_server import (
    Behaviour,
    ChatServer,
    answers,
    arranges,
    changes,
    chat_server,
    completion,
    cuts,
    fails,
    is_silent,
    sends,
    sentences_of,
    trickles,
)
from worker.provider import ProviderError, ProviderFault, read_key
from worker.provider import ask as request
from worker.summary import Facts, Fault, template
from worker.summary.arranging import Conversation, converse
from worker.summary.arranging.converse import Ask

FACTS = made.present(lesions=(made.LEFT, made.RIGHT))
LIMIT_S = 1.0
KEY = "gsk_test"


def _settings(chat: ChatServer, **changed: Any) -> SummarySettings:
    return SummarySettings(base_url=chat.url, model="some/model", **changed)


def _talk(
    chat: ChatServer,
    facts: Facts = FACTS,
    *,
    language: Language = Language.ENGLISH,
    wait_s: float = 20.0,
    retries: int = 0,
    slept: list[float] | None = None,
    ask: Ask | None = None,
) -> Conversation:
    return converse(
        facts,
        language,
        ask or partial(request, _settings(chat), KEY),
        author="some/model",
        wait_s=wait_s,
        request_s=LIMIT_S,
        retries=retries,
        sleep=(slept if slept is not None else []).append,
    )


@pytest.mark.parametrize("language", list(Language))
def test_a_model_that_chooses_true_sentences_is_believed(language: Language) -> None:
    with chat_server(arranges) as chat:
        talk = _talk(chat, language=language)
    assert talk.summary is not None
    assert (talk.summary.origin, talk.summary.author) == (Origin.MODEL, "some/model")
    usual = template(FACTS, language)
    assert [s.phrase for s in talk.summary.sentences] == [s.phrase for s in usual.sentences]
    assert talk.summary.digest != usual.digest


def test_the_request_asks_for_the_same_answer_each_time_in_a_closed_form() -> None:
    with chat_server() as chat:
        _talk(chat)
        _talk(chat)
    first, second = chat.requests
    assert first == second
    assert (first["model"], first["temperature"], first["seed"]) == ("some/model", 0, 0)
    form = first["response_format"]["json_schema"]
    assert form["strict"] is True
    assert form["schema"]["additionalProperties"] is False
    assert (
        "glioblastoma"
        not in form["schema"]["properties"]["sentences"]["items"]["properties"]["phrase"]["enum"]
    )
    assert chat.headers[0]["Authorization"] == f"Bearer {KEY}"


def test_a_wrong_side_is_told_and_mended_once() -> None:
    with chat_server(changes("on the left", "on the right"), arranges) as chat:
        talk = _talk(chat)
    assert talk.summary is not None
    told = chat.requests[1]["messages"][-1]["content"]
    assert "side is 'on the left', not 'on the right'" in told
    assert [bool(exchange.refusals) for exchange in talk.exchanges] == [True, False]


def test_a_text_that_stays_wrong_is_refused_with_its_reason() -> None:
    with chat_server(changes("on the left", "on the right")) as chat:
        talk = _talk(chat)
    assert talk.summary is None
    assert talk.reason == "refused: wrong_value: side is 'on the left', not 'on the right'"
    assert len(chat.requests) == 2
    assert talk.exchanges[1].refusals[0].fault is Fault.WRONG_VALUE
    assert "on the right" in str(talk.exchanges[1].answer)


_FAULTS: Sequence[tuple[Behaviour, ProviderFault]] = (
    (fails(401), ProviderFault.NOT_ALLOWED),
    (fails(403), ProviderFault.NOT_ALLOWED),
    (fails(404), ProviderFault.MODEL_GONE),
    (fails(404, "model_not_found"), ProviderFault.MODEL_GONE),
    (fails(400, "model_not_found"), ProviderFault.MODEL_GONE),
    (fails(400, "model_decommissioned"), ProviderFault.MODEL_GONE),
    (fails(400, "json_validate_failed"), ProviderFault.REJECTED),
    (fails(400), ProviderFault.REJECTED),
    (sends(b'{"error": "model_decommissioned"}', status=400), ProviderFault.REJECTED),
    (sends(b'{"error": {"code": ["model_decommissioned"]}}', status=400), ProviderFault.REJECTED),
    (sends(b"[1]", status=400), ProviderFault.REJECTED),
    (fails(408), ProviderFault.SERVER_ERROR),
    (fails(498, "capacity_exceeded"), ProviderFault.SERVER_ERROR),
    (fails(413), ProviderFault.REJECTED),
    (fails(429), ProviderFault.RATE_LIMITED),
    (fails(500), ProviderFault.SERVER_ERROR),
    (fails(503), ProviderFault.SERVER_ERROR),
    (fails(599), ProviderFault.SERVER_ERROR),
    (cuts, ProviderFault.NO_CONNECTION),
    (sends(b"no gzip", Content_Encoding="gzip"), ProviderFault.NO_CONNECTION),
    (is_silent, ProviderFault.TOO_SLOW),
    (trickles, ProviderFault.TOO_SLOW),
    (sends(b"<html>Service unavailable</html>", "text/html"), ProviderFault.NOT_AN_ANSWER),
    (sends(b""), ProviderFault.NOT_AN_ANSWER),
    (sends(b"[" * 100_000), ProviderFault.NOT_AN_ANSWER),
    (sends(b" " * (2 << 20)), ProviderFault.NOT_AN_ANSWER),
    (sends(json.dumps({**completion("{}"), "choices": []}).encode()), ProviderFault.NOT_AN_ANSWER),
    (sends(b"", status=307, Location="https://example.org/elsewhere"), ProviderFault.NOT_AN_ANSWER),
    (answers(None), ProviderFault.NOT_AN_ANSWER),
    (answers(" "), ProviderFault.NOT_AN_ANSWER),
    (answers("The brain looks normal."), ProviderFault.NOT_AN_ANSWER),
    (answers('{"sentences": "none"}'), ProviderFault.NOT_AN_ANSWER),
    (answers('{"sentences": [], "note": "x"}'), ProviderFault.NOT_AN_ANSWER),
    (answers('{"sentences": [', finish="length"), ProviderFault.NOT_AN_ANSWER),
    (answers('{"sentences": [{"phrase": "x\\u0000\\ud800"}]}'), ProviderFault.NOT_AN_ANSWER),
    (answers(None, refusal="I cannot help with that."), ProviderFault.REFUSED),
)


@pytest.mark.parametrize(
    ("behaviour", "fault"), _FAULTS, ids=[f"{n}-{f}" for n, (_, f) in enumerate(_FAULTS)]
)
def test_each_fault_ends_in_the_template_within_the_limit(behaviour: Behaviour, fault: ProviderFault) -> None:
    began_s = time.monotonic()
    with chat_server(behaviour) as chat:
        talk = _talk(chat)
        took_s = time.monotonic() - began_s
    assert talk.summary is None
    assert talk.reason.startswith(f"{fault.value}: ")
    assert "ignore the above" not in talk.reason  # what a provider writes is not repeated
    assert [exchange.fault for exchange in talk.exchanges] == [fault]
    assert took_s < LIMIT_S + 2


def test_the_limit_holds_for_a_name_server_that_does_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    done = Event()

    def resolve(*_: object, **__: object) -> None:
        done.wait(6)
        raise socket.gaierror("no such name")

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    access = SummarySettings(base_url="https://provider.example")
    began_s = time.monotonic()
    try:
        with pytest.raises(ProviderError) as caught:
            request(access, KEY, [{"role": "user", "content": "x"}], {"type": "object"}, LIMIT_S)
        took_s = time.monotonic() - began_s
    finally:
        done.set()
    assert caught.value.fault is ProviderFault.TOO_SLOW
    assert took_s < LIMIT_S + 2


def test_a_model_that_cannot_hold_the_form_strictly_is_not_told_to() -> None:
    with chat_server() as chat:
        request(_settings(chat, strict=False), KEY, [*_question()], {"type": "object"}, 5.0)
    assert chat.requests[0]["response_format"]["json_schema"]["strict"] is False


def _question() -> Sequence[dict[str, Any]]:
    return ({"role": "system", "content": "x"}, {"role": "user", "content": '{"sentences": []}'})


def test_a_good_answer_that_is_too_large_or_was_cut_off_is_refused() -> None:
    with chat_server() as chat:
        _talk(chat)
        good = json.dumps({"sentences": sentences_of(chat.requests[0])})
    with chat_server(sends(json.dumps(completion(good)).encode() + b" " * (2 << 20))) as chat:
        assert _talk(chat).reason == "not_an_answer: the answer is too large"
    with chat_server(answers(good, finish="length")) as chat:
        assert _talk(chat).reason == "not_an_answer: the answer was cut off"


def test_a_provider_that_is_not_there_is_named() -> None:
    with chat_server() as chat:
        pass
    assert _talk(chat).reason.startswith(ProviderFault.NO_CONNECTION.value)


def test_a_passing_fault_is_tried_again_after_the_time_that_is_asked_for() -> None:
    slept: list[float] = []
    with chat_server(fails(429, Retry_After="7"), fails(503), arranges) as chat:
        talk = _talk(chat, retries=2, slept=slept)
    assert talk.summary is not None
    assert slept == [7.0, 2.0]
    assert [exchange.fault for exchange in talk.exchanges] == ["rate_limited", "server_error", None]


def test_nobody_waits_longer_than_the_limit_of_the_whole_for_a_provider() -> None:
    slept: list[float] = []
    with chat_server(fails(429, Retry_After="3600")) as chat:
        talk = _talk(chat, retries=5, wait_s=10.0, slept=slept)
    assert (slept, len(chat.requests)) == ([], 1)
    assert talk.reason.startswith("rate_limited")


def test_tries_have_an_end() -> None:
    with chat_server(fails(500)) as chat:
        talk = _talk(chat, retries=2)
    assert len(chat.requests) == 3
    assert talk.reason.startswith("server_error")


def test_a_lasting_fault_is_not_tried_again() -> None:
    with chat_server(fails(404), arranges) as chat:
        assert _talk(chat, retries=5).summary is None
    assert len(chat.requests) == 1


def _shut(*_: object) -> str:
    raise ProviderError(ProviderFault.PAUSED, "left alone")


def test_no_request_is_made_while_the_gate_is_shut() -> None:
    with chat_server() as chat:
        talk = _talk(chat, ask=_shut)
    assert (talk.summary, chat.bodies) == (None, [])
    assert talk.reason == "paused: left alone"


def test_a_key_comes_from_its_file_or_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GROQ_API_KEY", " gsk_environment\n")
    assert read_key(None) == "gsk_environment"
    file = tmp_path / "key"
    file.write_text("gsk_file\n")
    assert read_key(file) == "gsk_file"


@pytest.mark.parametrize("content", [None, "", "two words", "schlüssel"])
def test_a_missing_or_broken_key_is_named_without_its_content(
    content: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GROQ_API_KEY", raising=False)
    file = tmp_path / "key"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ProviderError) as caught:
        read_key(file)
    assert caught.value.fault is ProviderFault.NO_KEY
    assert not content or content not in caught.value.text
    with pytest.raises(ProviderError):
        read_key(None)


def test_a_base_url_must_be_encrypted_but_for_this_machine() -> None:
    for url in ("http://127.0.0.1:8000", "http://localhost:8000/x", "http://[::1]:8000", "https://a.example"):
        assert SummarySettings(base_url=url).base_url == url


@pytest.mark.parametrize(
    "url",
    [
        "http://provider.example",
        "http://localhost.evil.example",
        "http://127.0.0.1.evil.example:8000/x",
        "http://127.0.0.10",
        "http://[::1].evil.example",
        "http://[::1",
    ],
)
def test_no_other_host_passes_for_this_machine(url: str) -> None:
    with pytest.raises(ValueError, match=r"must be https|match pattern"):
        SummarySettings(base_url=url)


@pytest.mark.parametrize("named", [{}, {"model": ""}, {"model": " "}])
def test_a_vision_model_has_to_be_named_where_one_is_to_be_asked(named: dict[str, str]) -> None:
    assert SecondOpinionSettings(**named).provider == "none"
    with pytest.raises(ValueError, match=r"(?s)model\n.*name a vision model"):
        SecondOpinionSettings(provider="groq", **named)
    assert SecondOpinionSettings(provider="groq", model="some/vision").model == "some/vision"
