"""What is told of models of others: consent, key, and whether the provider has them."""

from pathlib import Path
from typing import Any

import pytest

from neurotriage.doctor import Options, State, probes
from neurotriage.doctor.check import Check
from neurotriage.doctor.summary import look_at_summary
from tests.doctor.looks import by_subject, settings
from tests.summary.chat_server import ChatServer, chat_server
from worker.second_opinion import Withheld

pytestmark = pytest.mark.unit


def _look(
    chat: ChatServer, key: Path, opinion: dict[str, Any] | None = None, **summary: Any
) -> dict[str, Check]:
    access = {"base_url": chat.url, "key_file": key, "model": "some/model"}
    configured = {**access, **summary, "second_opinion": {**access, **(opinion or {})}}
    return by_subject(look_at_summary(settings(summary=configured).summary))


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("gsk_test")
    return file


def test_it_is_looked_at_only_where_a_model_is_configured() -> None:
    def parts(**summary: Any) -> set[str]:
        return {probe.part for probe in probes(settings(summary=summary), Options())}

    assert "summary" not in parts()
    assert "summary" in parts(provider="groq")
    assert "summary" in parts(second_opinion={"provider": "groq", "model": "some/model"})


def test_a_model_that_is_there_is_good_and_consent_is_asked_for(key: Path) -> None:
    with chat_server() as chat:
        found = _look(chat, key, provider="groq")
    assert (found["key"].state, found["model"].state) == (State.OK, State.OK)
    assert found["consent"].state is State.WARNING
    assert "facts of each analysis go to 127.0.0.1" in found["consent"].said
    assert chat.bodies == []  # nothing of a study was sent


def test_a_model_that_is_gone_a_dead_provider_and_a_missing_key_fail(key: Path) -> None:
    with chat_server() as chat:
        gone = _look(chat, key, provider="groq", model="retired")["model"]
    assert (gone.state, "no such model" in gone.said) == (State.FAILED, True)
    dead = _look(chat, key, provider="groq")["model"]
    assert (dead.state, "base_url" in dead.advice) == (State.FAILED, True)
    key.unlink()
    missing = _look(chat, key, provider="groq")["key"]
    assert (missing.state, "gsk_test" in missing.said) == (State.FAILED, False)


def test_a_second_opinion_without_consent_is_told(key: Path) -> None:
    with chat_server() as chat:
        found = _look(chat, key, {"provider": "groq"})
    assert set(found) == {"second opinion"}
    assert "no picture may leave" in found["second opinion"].said


def test_pictures_that_leave_are_warned_of(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neurotriage.doctor.summary.TextFinder", lambda: None)
    with chat_server() as chat:
        found = _look(chat, key, {"provider": "groq", "send_pixels": True})
    assert found["second opinion"].state is State.WARNING
    assert "pictures of slices go to 127.0.0.1" in found["second opinion"].said
    assert found["second opinion model"].state is State.OK


def test_without_a_reader_of_text_a_second_opinion_fails(key: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise Withheld("no reader of text is installed")

    monkeypatch.setattr("neurotriage.doctor.summary.TextFinder", missing)
    with chat_server() as chat:
        found = _look(chat, key, {"provider": "groq", "send_pixels": True})
    assert found["second opinion"].state is State.FAILED
