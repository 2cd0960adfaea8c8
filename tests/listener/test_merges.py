"""Merges that are dropped into a folder reach the studies, each once, and nothing else does."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, event

from db.corrections import identity, merges
from db.engine import connect
from dicom_listener.hl7 import folder as files
from dicom_listener.hl7.drop import MergeDrop
from dicom_listener.ingest.ingest import Ingest
from dicom_listener.spool import Spool
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Settings
from tests.conftest import until
from tests.killed import CONTEXT, die_before, run_until_it_dies
from tests.listener.conftest import assemble, instance, rows, send, spooled
from tests.listener.intake_process import IntakeProcess
from tests.listener.test_hl7_message import message

CONTEXT.set_forkserver_preload([__name__])

WHOSE = "select study_instance_uid, patient_id from studies order by 1"
STATES = "select s.study_instance_uid, r.number, r.state from revisions r join studies s on s.id = study_id"


def merge(prior: str, to: str) -> bytes:
    return message(f"PID|||{to}||Right^Name", f"MRG|{prior}")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "hl7"
    folder.mkdir()
    return folder


@pytest.fixture
def drop(engine: Engine, folder: Path) -> MergeDrop:
    return MergeDrop(engine, folder, settle_s=0)


Receive = Callable[[str, str, int], None]


@pytest.fixture
def receive(ingest: Ingest, spool: Spool, engine: Engine) -> Receive:
    def receive(study: str, patient: str, number: int = 1) -> None:
        spooled(spool, instance(study, number, patient=patient))
        ingest.drain()
        assemble(engine, 1e-6)

    return receive


def put(folder: Path, name: str, data: bytes, mtime_s: int = 1_700_000_000) -> None:
    (folder / name).write_bytes(data)
    os.utime(folder / name, (mtime_s, mtime_s))


def reasons(folder: Path) -> list[str]:
    """Of the refused files, each of which has one beside it."""
    paths = sorted((folder / files.REFUSED).iterdir())
    refused = [path for path in paths if path.suffix != files.REASON]
    assert len(paths) == 2 * len(refused)
    return [path.with_name(path.name + files.REASON).read_text().strip() for path in refused]


def names(folder: Path) -> list[str]:
    """Of the files that are done, as they were before."""
    return [path.name.partition("-")[2] for path in sorted((folder / files.DONE).iterdir())]


def test_all_studies_of_the_prior_patient_are_made_anew_and_no_other(
    receive: Receive, drop: MergeDrop, folder: Path, engine: Engine
) -> None:
    for study, patient in (("1.2.1", "A"), ("1.2.2", "A"), ("1.2.3", "B"), ("1.2.4", "OTHER")):
        receive(study, patient, 1)
    put(folder, "one.hl7", merge("A", "B"))
    assert drop.step() == 1
    assert rows(engine, WHOSE) == [("1.2.1", "B"), ("1.2.2", "B"), ("1.2.3", "B"), ("1.2.4", "OTHER")]
    assert len(assemble(engine, 1e-6)) == 2
    assert rows(engine, f"{STATES} order by 1, 2") == [
        *(("1.2.1", 1, "withdrawn"), ("1.2.1", 2, "ready")),
        *(("1.2.2", 1, "withdrawn"), ("1.2.2", 2, "ready")),
        *(("1.2.3", 1, "ready"), ("1.2.4", 1, "ready")),
    ]
    assert (
        rows(engine, "select made_by, patient_name from identity_corrections")
        == [("HL7 message MSG0001", "Right^Name")] * 2
    )
    told = rows(engine, "select detail::text from events where kind = 'identity_corrected'")
    assert len(told) == 2
    assert "Name" not in str(told)
    assert names(folder) == ["one.hl7"]
    assert not list(files.dropped(folder))


def test_later_images_of_a_merged_study_are_the_surviving_patients_and_a_new_study_is_as_it_says(
    receive: Receive, drop: MergeDrop, folder: Path, engine: Engine
) -> None:
    receive("1.2.1", "A", 1)
    put(folder, "one.hl7", merge("A", "B"))
    drop.step()
    receive("1.2.1", "A", 2)
    receive("1.2.2", "A", 1)
    assert rows(engine, WHOSE) == [("1.2.1", "B"), ("1.2.2", "A")]
    assert rows(engine, "select conflict from revisions where conflict is not null") == []
    put(folder, "again.hl7", merge("A", "B"))
    drop.step()
    assert rows(engine, WHOSE) == [("1.2.1", "B"), ("1.2.2", "B")]
    assert rows(engine, "select count(*) from identity_corrections") == [(2,)]


@pytest.mark.parametrize("in_one_file", [False, True])
def test_a_chain_of_merges_ends_at_its_last_patient(
    receive: Receive, drop: MergeDrop, folder: Path, engine: Engine, in_one_file: bool
) -> None:
    receive("1.2.1", "A", 1)
    receive("1.2.2", "B", 1)
    if in_one_file:
        put(folder, "chain.hl7", message("PID|||B", "MRG|A", "PID|||C", "MRG|B"))
    else:  # by the times of the files, whatever their names are
        put(folder, "2.hl7", merge("A", "B"), 1_700_000_000)
        put(folder, "1.hl7", merge("B", "C"), 1_700_000_001)
    drop.step()
    receive("1.2.1", "A", 2)
    assert rows(engine, WHOSE) == [("1.2.1", "C"), ("1.2.2", "C")]
    assert rows(engine, "select conflict from revisions where conflict is not null") == []


def test_a_file_is_taken_when_it_has_its_name_and_changes_no_more(
    receive: Receive, engine: Engine, folder: Path
) -> None:
    receive("1.2.1", "A", 1)
    drop = MergeDrop(engine, folder, settle_s=3600)
    whole = merge("A", "B")
    for name in (".one.hl7", "one.hl7.tmp", "ONE.PART", "one.filepart"):
        put(folder, name, whole)
    put(folder, "two.hl7", whole[:-20])
    assert drop.step() == 0
    put(folder, "two.hl7", whole[:-10], 1_700_000_001)
    drop._settle_s = 1e-9
    assert drop.step() == 0  # seen for the first time as it is now
    put(folder, "two.hl7", whole, 1_700_000_002)
    assert drop.step() == 0
    assert drop.step() == 1
    assert rows(engine, WHOSE) == [("1.2.1", "B")]
    assert len(list(folder.iterdir())) == 4 + 2


def test_what_cannot_be_used_is_set_aside_with_its_reason_and_what_follows_is_taken(
    receive: Receive, drop: MergeDrop, folder: Path, engine: Engine
) -> None:
    receive("1.2.1", "A", 1)
    put(folder, "1", b"junk\r")
    put(folder, "2", merge("A", "A"))
    put(folder, "3", b" " * (files.MAX_BYTES + 1))
    put(folder, "4", merge("A", "B")[:-1])
    put(folder, "9", merge("A", "B"))
    (folder / "5").symlink_to(folder / "9")
    os.mkfifo(folder / "6")
    (folder / "folder").mkdir()
    assert drop.step() == 7
    assert reasons(folder) == [
        "it does not begin with MSH",
        "it merges a patient into itself",
        f"it is longer than {files.MAX_BYTES} bytes",
        "its last segment is not ended by CR or LF: it may be cut off",
        "it cannot be read: Too many levels of symbolic links",
        "it is no regular file",
    ]
    assert rows(engine, WHOSE) == [("1.2.1", "B")]
    assert names(folder) == ["9"]


def test_a_file_that_is_replaced_while_it_is_read_is_not_put_away(folder: Path) -> None:
    files.prepare(folder)
    put(folder, "one", b"first")
    (seen,) = files.dropped(folder)
    put(folder, "new", b"other")
    (folder / "new").rename(folder / "one")
    with pytest.raises(files.Changed):
        files.read(folder, seen)
    files.move(folder, seen, files.DONE)
    assert (folder / "one").read_bytes() == b"other"
    (folder / "one").unlink()
    files.move(folder, seen, files.DONE)


def test_what_is_kept_is_bounded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "KEPT", 2)
    files.prepare(folder)
    for number in range(4):
        for place in (files.DONE, files.REFUSED):
            put(folder, f"{number}.hl7", b"")
            (seen,) = files.dropped(folder)
            files.move(folder, seen, place, "because" if place == files.REFUSED else "")
    files.prune(folder)
    assert names(folder) == ["2.hl7", "3.hl7"]
    assert reasons(folder) == ["because", "because"]
    assert files.refused(folder) == 2


def test_a_folder_that_is_missing_is_waited_for(drop: MergeDrop, folder: Path) -> None:
    folder.rmdir()
    with pytest.raises(Unavailable, match=r"HL7 folder .* cannot be used: No such file"):
        drop.step()
    assert not folder.exists()  # or files would be dropped into what a mount then hides
    folder.mkdir()
    assert drop.step() == 0


def test_without_postgres_a_file_waits(folder: Path) -> None:
    away = connect("postgresql://nobody@127.0.0.1:1/none")
    put(folder, "one.hl7", merge("A", "B"))
    with pytest.raises(Unavailable, match="Postgres"):
        MergeDrop(away, folder, settle_s=0).step()
    assert [file.name for file in files.dropped(folder)] == ["one.hl7"]


def test_a_file_that_fails_twice_makes_way_for_the_next(
    receive: Receive, drop: MergeDrop, folder: Path, engine: Engine
) -> None:
    receive("1.2.1", "A", 1)
    put(folder, "1", merge("A", "Z"), 1)
    put(folder, "2", merge("A", "B"), 2)

    def fail(*arguments: Any) -> None:
        if "insert into identity_corrections" in arguments[2].lower() and "Z" in str(arguments[3]):
            raise RuntimeError("a bug")

    event.listen(engine, "before_cursor_execute", fail)
    with pytest.raises(RuntimeError):
        drop.step()
    assert drop.step() == 2
    assert reasons(folder) == ["it could not be applied: RuntimeError"]
    assert rows(engine, WHOSE) == [("1.2.1", "B")]


def test_a_merge_of_a_placeholder_that_many_studies_bear_is_refused(
    receive: Receive, drop: MergeDrop, folder: Path, engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merges, "MAX_STUDIES", 1)
    receive("1.2.1", "ANON", 1)
    receive("1.2.2", "ANON", 1)
    put(folder, "1", merge("ANON", "B"))
    drop.step()
    assert reasons(folder) == ["it concerns more than 1 studies of one patient"]
    assert rows(engine, "select count(*) from identity_corrections") == [(0,)]


def _take(url: str, folder: Path, function: Callable[..., Any], statement: str, times: int) -> None:
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    die_before(function, statement, times)
    MergeDrop(connect(url), folder, settle_s=0).step()


PLACES: Sequence[tuple[Callable[..., Any], str, int]] = (
    (merges.merge, "concerned =", 1),
    (identity.correct, "withdraw(", 1),
    (identity.correct, "return correction_id", 2),  # the transaction ends
    (MergeDrop._take, "stamp = files.move(self._folder, file, files.DONE", 1),  # it has ended
    (files.move, "source.rename", 1),
    (MergeDrop._take, "log.info", 1),
)


@pytest.mark.scenario
@pytest.mark.parametrize(("function", "statement", "times"), PLACES)
def test_a_merge_that_is_killed_anywhere_happens_once_and_as_a_whole(
    receive: Receive,
    folder: Path,
    engine: Engine,
    database_url: str,
    function: Callable[..., Any],
    statement: str,
    times: int,
) -> None:
    receive("1.2.1", "A", 1)
    receive("1.2.2", "A", 1)
    put(folder, "one.hl7", merge("A", "B"))
    run_until_it_dies(_take, database_url, folder, function, statement, times)
    assert {patient for _, patient in rows(engine, WHOSE)} in ({"A"}, {"B"})
    MergeDrop(engine, folder, settle_s=0).step()
    assert rows(engine, WHOSE) == [("1.2.1", "B"), ("1.2.2", "B")]
    assert rows(engine, "select count(*) from identity_corrections") == [(2,)]
    assert rows(engine, "select count(*) from events where kind = 'withdrawn'") == [(2,)]
    assert names(folder) == ["one.hl7"]


@pytest.mark.scenario
def test_the_ingester_takes_merges_and_records_images_while_their_folder_is_missing(
    engine: Engine, database_url: str, settings: Settings, folder: Path
) -> None:
    folder.rmdir()
    document = settings.model_dump() | {
        "database": {"url": database_url},
        "broker": {"url": "redis://127.0.0.1:1/0"},
        "identity": {"hl7_folder": folder},
    }
    intake = IntakeProcess(Settings.model_validate(document))
    try:
        send(intake.port, [instance("1.2.1", patient="A")])
        until(lambda: rows(engine, WHOSE) == [("1.2.1", "A")])
        folder.mkdir()
        put(folder, "one.hl7", merge("A", "B"))
        until(lambda: rows(engine, WHOSE) == [("1.2.1", "B")])
        until(lambda: not list(files.dropped(folder)))
        assert names(folder) == ["one.hl7"]
    finally:
        intake.end(signal.SIGTERM)
