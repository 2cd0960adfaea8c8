"""``neurotriage import``: every DICOM file of a folder, once."""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage
from typer.testing import CliRunner, Result

from dicom_listener.spool import Spool, Spools, back_pressure, read_received
from neurotriage.cli import app
from neurotriage.cli.studies import import_folder
from neurotriage.core.storage import Storage
from tests.conftest import until
from tests.files.conftest import ASSOCIATION, as_file, association_ids, ends
from tests.listener.conftest import data_set_of, encoded, instance

pytestmark = pytest.mark.unit


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two studies of three instances, and what lies on a medium beside them."""
    folder = tmp_path / "medium"
    for study in ("1.2.3", "1.2.4"):
        place = folder / "IMAGES" / study.replace(".", "")
        place.mkdir(parents=True)
        for number in (1, 2, 3):
            (place / f"IM{number}").write_bytes(as_file(instance(study, number)))
    (folder / "README.TXT").write_text("a viewer")
    (folder / "empty").write_bytes(b"")
    return folder


@pytest.fixture
def run(tmp_path: Path, storage: Storage, monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], Result]:
    monkeypatch.setenv("NEUROTRIAGE_CONFIG", os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(storage.root))
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__MIN_FREE_BYTES", "0")
    monkeypatch.setattr(import_folder, "_INGESTED_WITHIN_S", 0.0)
    return lambda folder: CliRunner().invoke(app, ["import", str(folder)])


def _directory(folder: Path, *file_ids: list[str] | str) -> None:
    """A DICOMDIR that lists these files."""
    directory = Dataset()
    directory.file_meta = FileMetaDataset()
    directory.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    directory.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    directory.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    records = []
    for file_id in file_ids:
        record = Dataset()
        record.DirectoryRecordType = "IMAGE"
        record.ReferencedFileID = file_id
        records.append(record)
    directory.DirectoryRecordSequence = Sequence(records)
    directory.save_as(folder / "DICOMDIR", enforce_file_format=True)


def test_every_file_of_a_folder_is_spooled_as_it_is(
    run: Callable[[Path], Result], folder: Path, spool: Spool
) -> None:
    result = run(folder)
    assert result.exit_code == 0, result.output
    assert "6 taken, 0 repeated, 0 refused" in result.output
    assert "2 files are no DICOM files" in result.output
    expected = {encoded(instance(study, number)) for study in ("1.2.3", "1.2.4") for number in (1, 2, 3)}
    assert {data_set_of(path) for path in spool.waiting()} == expected
    assert {read_received(path).reception.peer for path in spool.waiting()} == {("IMPORT", "127.0.0.1")}


def test_a_second_run_repeats_nothing(run: Callable[[Path], Result], folder: Path, spool: Spool) -> None:
    run(folder)
    assert "0 taken, 6 repeated" in run(folder).output
    assert len(spool.waiting()) == 6


def test_what_the_store_has_is_not_taken_again(
    run: Callable[[Path], Result], folder: Path, spool: Spool, storage: Storage
) -> None:
    run(folder)
    for path in spool.waiting():  # as the ingester does
        place = storage.stored_instance(read_received(path).reception.digest)
        place.parent.mkdir(parents=True, exist_ok=True)
        path.rename(place)
    assert "0 taken, 6 repeated" in run(folder).output
    assert not spool.waiting()


def test_a_run_that_was_killed_is_finished_by_the_next(
    run: Callable[[Path], Result], folder: Path, spool: Spool
) -> None:
    for number in range(4, 300):
        (folder / f"more{number}").write_bytes(as_file(instance("1.2.5", number)))
    process = subprocess.Popen(
        [sys.executable, "-m", "neurotriage", "import", str(folder)], stdout=subprocess.DEVNULL
    )
    until(lambda: len(spool.waiting()) >= 3)
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = len(spool.waiting())
    assert before < 302
    result = run(folder)
    assert f"{302 - before} taken, {before} repeated, 0 refused" in result.output
    assert len({data_set_of(path) for path in spool.waiting()}) == len(spool.waiting()) == 302


def test_a_second_import_at_the_same_time_is_refused(
    run: Callable[[Path], Result], folder: Path, spool: Spool
) -> None:
    spool.recover()
    result = run(folder)
    assert result.exit_code == 1
    assert "another process" in str(result.exception)
    spool.close()


def test_it_says_when_nothing_records_what_it_took(run: Callable[[Path], Result], folder: Path) -> None:
    assert "6 instances wait in the spool, and nothing records them" in run(folder).output


def test_a_link_or_a_pipe_is_named_and_not_followed(
    run: Callable[[Path], Result], folder: Path, tmp_path: Path, spool: Spool
) -> None:
    (tmp_path / "secret").write_bytes(as_file(instance("1.9")))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "links").symlink_to(tmp_path, target_is_directory=True)
    os.mkfifo(folder / "pipe")
    result = run(folder)
    assert result.exit_code == 1
    assert "6 taken, 0 repeated, 3 refused" in result.output
    assert "refused: link: a symbolic link" in result.output
    assert "refused: pipe: neither a file nor a folder" in result.output


def test_a_dicomdir_names_what_is_missing_and_nothing_outside_is_looked_for(
    run: Callable[[Path], Result], folder: Path, tmp_path: Path, spool: Spool
) -> None:
    (tmp_path / "SECRET").write_bytes(as_file(instance("1.9")))
    _directory(
        folder,
        ["IMAGES", "123", "IM1"],
        ["IMAGES", "123", "IM9"],
        ["..", "SECRET"],
        ["IMAGES", "../../SECRET"],
        str(tmp_path / "SECRET"),
    )
    result = run(folder / "DICOMDIR")
    assert result.exit_code == 1
    assert "6 taken, 0 repeated, 4 refused" in result.output
    assert "DICOMDIR: IMAGES/123/IM9: listed in the DICOMDIR and not there" in result.output
    assert result.output.count("a path that may lead out of its folder") == 3
    assert len(spool.waiting()) == 6


def test_a_medium_mounted_in_small_letters_fits_its_dicomdir(
    run: Callable[[Path], Result], folder: Path
) -> None:
    (folder / "IMAGES").rename(folder / "images")
    _directory(folder, ["IMAGES", "123", "IM1"], ["IMAGES", "124", "IM3"])
    assert run(folder).exit_code == 0


def test_a_damaged_dicomdir_costs_no_image(run: Callable[[Path], Result], folder: Path) -> None:
    (folder / "DICOMDIR").write_bytes(b"\xff" * 1000)
    result = run(folder)
    assert "6 taken" in result.output
    assert "refused: DICOMDIR: the DICOMDIR cannot be read" in result.output


def test_a_long_list_of_refused_files_is_bounded(run: Callable[[Path], Result], folder: Path) -> None:
    for number in range(60):
        (folder / f"bad{number}").write_bytes(as_file(instance(number=number))[:200])
    result = run(folder)
    assert result.output.count("refused: bad") == 50
    assert "60 x" in result.output


def test_a_full_disk_ends_the_run_with_a_sentence(
    run: Callable[[Path], Result], folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__MIN_FREE_BYTES", str(1 << 60))
    result = run(folder)
    assert "takes no more" in str(result.exception)
    assert not spool.waiting()
    assert not spool.ended()


def test_the_end_of_an_import_is_noted_as_released(
    run: Callable[[Path], Result], folder: Path, spool: Spool
) -> None:
    run(folder)
    (end,) = ends(spool)
    assert end.released
    assert {end.association_id} == association_ids(spool)
    run(folder)
    assert len(spool.ended()) == 1  # nothing was taken


def test_an_import_goes_no_faster_than_its_files_are_recorded(
    run: Callable[[Path], Result], folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_pressure, "_MAX_SPOOLED", 2)
    monkeypatch.setattr(back_pressure, "_LOOK_EVERY_S", 0.01)
    recorded, most, ended = 0, 0, threading.Event()

    def record() -> None:
        nonlocal recorded, most
        while not ended.wait(0.02):
            waiting = spool.waiting()
            most = max(most, len(waiting))
            for path in waiting[:1]:
                path.unlink()
                recorded += 1

    ingester = threading.Thread(target=record)
    ingester.start()
    result = run(folder)
    ended.set()
    ingester.join()
    assert "6 taken, 0 repeated, 0 refused" in result.output
    assert recorded + len(spool.waiting()) == 6
    assert most <= 2


def test_an_import_that_nobody_records_ends_with_a_sentence_and_goes_on_later(
    run: Callable[[Path], Result], folder: Path, spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(back_pressure, "_MAX_SPOOLED", 2)
    monkeypatch.setattr(back_pressure, "_LOOK_EVERY_S", 0.01)
    monkeypatch.setattr(back_pressure, "_DRAINED_WITHIN_S", 0.1)
    assert "nobody records what came: 2 instances wait" in str(run(folder).exception)
    assert len(spool.waiting()) == 2
    assert not spool.ended()
    monkeypatch.setattr(back_pressure, "_MAX_SPOOLED", 100)
    assert "4 taken, 2 repeated, 0 refused" in run(folder).output


def test_the_spools_of_all_processes_are_read_as_one_in_order_of_arrival(storage: Storage) -> None:
    spools = Spools(storage)
    assert spools.waiting() == []
    names = []
    for number, name in enumerate(("main", "import", "main", "stow")):
        spool = Spool(storage, name, min_free_bytes=0)
        with spool.begin(
            ASSOCIATION,
            sop_class_uid="1.2",
            sop_instance_uid=f"1.{number}",
            transfer_syntax_uid=ExplicitVRLittleEndian,
        ) as incoming:
            incoming.write(b"x")
            names.append(incoming.commit())
    assert [path.stem for path in spools.waiting()] == names
