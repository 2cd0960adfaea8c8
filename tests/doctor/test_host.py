"""What is told of this host: configuration, disk and weights."""

import os
from hashlib import sha256
from pathlib import Path

import pytest

from neurotriage.core.storage import Storage, write_durably
from neurotriage.doctor import State
from neurotriage.doctor.host import look_at_configuration, look_at_storage, look_at_weights
from tests.doctor.looks import by_subject, settings
from tests.selection.site import rule
from tests.vision.synthetic import write_weights
from tests.worker.weights import hollow_weights


@pytest.mark.parametrize("title", ["", "   ", "BACK\\SLASH", "ümlaut", "TAB\t"])
def test_an_ae_title_that_dicom_does_not_allow_fails(title: str) -> None:
    found = by_subject(look_at_configuration(settings(listener={"ae_title": title})))
    assert found["AE titles"].state is State.FAILED


def test_a_configuration_in_which_nobody_may_send_fails() -> None:
    found = by_subject(look_at_configuration(settings(listener={"host": "10.0.0.1"})))
    assert found["peers"].state is State.FAILED
    assert found["destinations"].state is State.WARNING


def test_two_destinations_of_one_name_fail() -> None:
    one = {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104}
    found = by_subject(look_at_configuration(settings(destination=[one, one])))
    assert found["destinations"].state is State.FAILED


def test_a_disk_with_room_takes_a_durable_write_and_is_left_as_it_was(tmp_path: Path) -> None:
    site = settings(storage={"root": tmp_path, "min_free_bytes": 0})
    found = by_subject(look_at_storage(site))
    assert found["room"].state is State.OK
    assert found["durable write"].state in (State.OK, State.WARNING)  # a busy disk is slow
    assert list(tmp_path.iterdir()) == []


def test_folders_that_others_may_look_into_fail(tmp_path: Path) -> None:
    root = tmp_path / "storage"
    (root / "results").mkdir(parents=True)
    for folder in (root, root / "results"):
        folder.chmod(0o755)
    site = settings(storage={"root": root, "min_free_bytes": 0})
    found = by_subject(look_at_storage(site))["privacy"]
    assert (found.state, str(root / "results") in found.said) == (State.FAILED, True)
    Storage(root).shut()
    assert by_subject(look_at_storage(site))["privacy"].state is State.OK


def test_results_that_our_user_cannot_read_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Storage(tmp_path).result(1, "2.25.1")
    write_durably(place, b"a result")
    site = settings(storage={"root": tmp_path, "min_free_bytes": 0})
    assert by_subject(look_at_storage(site))["readable"].state is State.OK
    allowed = os.access  # root may read anything, so the system's answer is replaced
    monkeypatch.setattr(os, "access", lambda path, mode: path != place and allowed(path, mode))
    found = by_subject(look_at_storage(site))["readable"]
    assert (found.state, str(place) in found.said) == (State.FAILED, True)


def test_a_disk_below_its_limit_fails(tmp_path: Path) -> None:
    found = by_subject(look_at_storage(settings(storage={"root": tmp_path, "min_free_bytes": 2**60})))
    assert found["room"].state is State.FAILED
    assert "0xA700" in found["room"].advice


def test_a_folder_that_cannot_be_written_or_is_not_there_fails(tmp_path: Path) -> None:
    written = by_subject(look_at_storage(settings(storage={"root": "/proc", "min_free_bytes": 0})))
    assert written["durable write"].state is State.FAILED
    (absent,) = look_at_storage(settings(storage={"root": tmp_path / "none"}))
    assert absent.state is State.FAILED


def test_weights_whose_hash_is_right_and_that_do_not_load_fail(tmp_path: Path) -> None:
    found = by_subject(look_at_weights(settings(worker={"weights": hollow_weights(tmp_path)})))
    assert found["hashes"].state is State.OK
    assert found["weights"].state is State.FAILED


def test_a_named_engine_that_cannot_run_here_is_told(tmp_path: Path) -> None:
    """As a worker loads them: with the engine that is configured, whose file nobody made here."""
    site = settings(
        worker={"weights": write_weights(tmp_path), "engine": "onnxruntime-int8"},
        storage={"root": tmp_path / "storage"},
    )
    found = by_subject(look_at_weights(site))
    assert found["MR engine"].state is State.WARNING
    assert "instead of onnxruntime-int8" in found["MR engine"].said
    assert found["MR model"].state is State.OK
    assert not (tmp_path / "storage").exists()


def test_the_weights_that_come_with_the_program_load() -> None:
    found = by_subject(look_at_weights(settings()))
    assert {check.state for check in found.values()} == {State.OK}
    assert "MR model" in found


def test_rules_of_the_site_are_told_with_their_hash_and_wrong_ones_fail(tmp_path: Path) -> None:
    file = tmp_path / "rules.toml"
    site = settings(selection={"rules": file})
    assert by_subject(look_at_configuration(settings()))["rules"].state is State.OK
    file.write_text(rule('fact = "modality", equals = "CT"'))
    told = by_subject(look_at_configuration(site))["rules"]
    assert (told.state, sha256(file.read_bytes()).hexdigest()[:12] in told.said) == (State.OK, True)
    file.write_text(rule('fact = "modality", equal = "CT"'))
    told = by_subject(look_at_configuration(site))["rules"]
    assert told.state is State.FAILED
    assert f'{file}: [[rule]] number 1, "a rule": when.equal: there is no such setting' in told.said
    assert "neurotriage rules check" in told.advice
