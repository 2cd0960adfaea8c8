"""The demo before its servers start: what it sends, and what it says of what cannot be sent."""

import io
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid
from rich.console import Console

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.show import show
from neurotriage.demo.submission import DemoFailed, Submission, folder_studies, send_all
from neurotriage.embedded.process import free_port
from tests.demo.instances import instance
from tests.demo.made import made


@pytest.fixture
def console() -> Console:
    return Console(file=io.StringIO(), width=400)


def printed(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def submission(folder: Path, *pictures: int) -> Submission:
    """A study of small pictures, one for each grey value."""
    paths = []
    for value in pictures:
        dataset = instance(value=value)
        paths.append(folder / f"{dataset.SOPInstanceUID}.dcm")
        dataset.save_as(paths[-1], enforce_file_format=True)
    return Submission(f"study of {len(paths)} files", generate_uid(), tuple(paths))


def test_the_studies_of_a_folder_are_told_apart_and_other_files_passed_over(tmp_path: Path) -> None:
    for name in ("ct", "healthy"):
        for dataset in made(name).datasets[:4]:
            dataset.save_as(tmp_path / f"{dataset.SOPInstanceUID}.dcm", enforce_file_format=True)
    (tmp_path / "notes.txt").write_text("hello")
    studies = folder_studies(tmp_path)
    assert {s.study_instance_uid for s in studies} == {made(n).study_instance_uid for n in ("ct", "healthy")}
    assert {s.name for s in studies} == {"study of 4 files"}
    for study in studies:
        stored = {dcmread(path, stop_before_pixels=True).StudyInstanceUID for path in study.paths}
        assert stored == {study.study_instance_uid}
        assert study.sample is None


def test_a_folder_without_dicom_is_said_and_nothing_is_started(tmp_path: Path, console: Console) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "notes.txt").write_text("hello")
    with pytest.raises(DemoFailed, match=r"no DICOM study in .*/in$"):
        show(tmp_path / "in", tmp_path / "out", console)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_folder_that_would_be_emptied_is_left_alone(tmp_path: Path, console: Console) -> None:
    precious = tmp_path / "out" / "in"
    precious.mkdir(parents=True)
    (precious / "study.dcm").write_text("mine")
    for folder in (precious, tmp_path / "out"):
        with pytest.raises(DemoFailed, match="which is emptied first; choose another --output"):
            show(folder, tmp_path / "out", console)
    assert (precious / "study.dcm").read_text() == "mine"


def test_each_study_that_is_sent_has_a_line(tmp_path: Path, console: Console) -> None:
    study = submission(tmp_path, 1, 2)
    with StandInPacs(tmp_path / "pacs") as listener:
        assert send_all([study], listener.port, console) == [study]
    assert "sent study of 2 files: 2 of 2 instances stored\n" in printed(console)


def test_a_study_that_is_refused_is_named_and_the_others_go_on(tmp_path: Path, console: Console) -> None:
    refused, taken = submission(tmp_path, 1), submission(tmp_path, 2, 3)
    (unsendable,) = refused.paths
    unsendable.write_text("no DICOM any more")
    with StandInPacs(tmp_path / "pacs") as listener:
        assert send_all([refused, taken], listener.port, console) == [taken]
    assert "not sent: study of 1 files: there is no DICOM instance to send\n" in printed(console)


def test_a_listener_that_stores_nothing_ends_the_demo(tmp_path: Path, console: Console) -> None:
    with StandInPacs(tmp_path / "pacs") as listener:
        listener.answer = 0xA700
        with pytest.raises(DemoFailed, match="the listener took none of the studies"):
            send_all([submission(tmp_path, 1)], listener.port, console)
    assert "0 of 1 instances stored; " in printed(console)
    assert "refused with status 0xA700" in printed(console)


def test_a_listener_that_does_not_answer_is_named(tmp_path: Path, console: Console) -> None:
    port = free_port()
    with pytest.raises(DemoFailed, match="took none"):
        send_all([submission(tmp_path, 1)], port, console)
    assert f"NEUROTRIAGE at 127.0.0.1:{port} does not answer" in printed(console)
