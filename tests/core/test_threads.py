"""Threads of the networks wait without spinning, unless the user says otherwise."""

import os

import pytest

from neurotriage.core.process.threads import calm_threads

pytestmark = pytest.mark.unit


def test_threads_sleep_while_they_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    calm_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "PASSIVE"


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_WAIT_POLICY", "ACTIVE")
    calm_threads()
    assert os.environ["OMP_WAIT_POLICY"] == "ACTIVE"
