"""A backup holds what was acknowledged before it began, and is whole or not there."""

import errno
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import OperationalError

from db import migrate
from db.engine import connect
from dicom_listener.spool import Spools
from neurotriage.backup import BackupDamaged, back_up, copying, damaged_contents
from neurotriage.backup.manifest import BackupFolder
from neurotriage.backup.objects import Objects
from neurotriage.backup.progress import tell_nobody
from neurotriage.backup.tables import files_of_rows, snapshot
from neurotriage.core.errors import Unavailable
from tests.backup.conftest import Clinic, Fresh, acknowledged_in, hashes, objects
from tests.worker.studies import head_ct

MOMENTS = ("spool_listed", "spool_copied", "in_the_snapshot", "files_copied")


class Moment:
    """Lets something happen once, at a moment of a backup."""

    def __init__(self, name: str, happens: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
        self._name, self._happens, self.came = name, happens, False
        listed = Spools.every

        def every(spools: Spools) -> list[Path]:
            found = listed(spools)
            self._at("spool_listed")
            return found

        @contextmanager
        def later(engine: Engine) -> Iterator[Connection]:
            self._at("spool_copied")
            with snapshot(engine) as connection:
                yield connection

        patch.setattr(Spools, "every", every)
        patch.setattr(copying, "snapshot", later)

    def tell(self, what: str, number: int, total: int) -> None:
        if number == total // 2:
            self._at({"tables": "in_the_snapshot", "files": "files_copied"}[what])

    def _at(self, name: str) -> None:
        if name == self._name and not self.came:
            self.came = True
            self._happens()


@pytest.mark.parametrize("name", MOMENTS)
def test_what_was_acknowledged_before_a_backup_is_in_it_whenever_it_is_recorded(
    clinic: Clinic, fresh: Fresh, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    acknowledged = {clinic.receive(number) for number in (2, 3)}

    def goes_on() -> None:
        clinic.ingest.drain()
        clinic.site.worker.analyse(clinic.site.receive(head_ct(StudyInstanceUID="2.25.200")))
        clinic.receive(9)

    moment = Moment(name, goes_on, monkeypatch)
    manifest = clinic.back_up(moment.tell)
    assert (moment.came, manifest.missing) == (True, 0)
    monkeypatch.undo()
    fresh.restore(clinic.folder)
    with fresh.engine.connect() as connection:
        named = set(files_of_rows(connection, fresh.storage))
    restored, there = hashes(fresh.storage), hashes(clinic.storage)
    assert named == {path for path in restored if not path.startswith("spool/")}
    assert all(restored[path] == there[path] for path in named)
    assert acknowledged_in(fresh) >= acknowledged


def test_a_second_backup_copies_only_what_is_new(clinic: Clinic) -> None:
    first = clinic.back_up()
    assert first.copied == first.files == len(hashes(clinic.storage))
    before = objects(clinic.folder)
    again = clinic.back_up()
    assert (again.files, again.copied) == (first.files, 0)
    assert objects(clinic.folder) == before
    clinic.receive(4)
    assert clinic.back_up().copied == 1


def test_a_file_that_changed_is_copied_again_and_its_former_bytes_go(clinic: Clinic) -> None:
    clinic.back_up()
    (page,) = (clinic.storage.root / "results").rglob("*.dcm")
    page.write_bytes(page.read_bytes()[::-1])  # of the same length
    assert clinic.back_up().copied == 1
    assert len(objects(clinic.folder)) == len(set(hashes(clinic.storage).values())) + _tables(clinic) + 1


def test_a_backup_is_ours_alone(clinic: Clinic) -> None:
    before = os.umask(0)
    try:
        clinic.back_up()
    finally:
        os.umask(before)
    for path in (clinic.folder, *clinic.folder.rglob("*")):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def _tables(clinic: Clinic) -> int:
    """Number of the tables that differ; the empty ones have one content."""
    return len({table.content.sha256 for table in BackupFolder(clinic.folder).read().tables})


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), KeyboardInterrupt()])
@pytest.mark.parametrize("after", [0, 28, 42])
def test_a_torn_backup_leaves_the_former_one_whole(
    clinic: Clinic, after: int, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = clinic.back_up()
    for path in (clinic.storage.root / "store").rglob("*.dcm"):
        os.utime(path)  # so that all are looked at again
    clinic.receive(5)
    write, written = Objects.write, iter(range(1000))

    def torn(store: Objects, fill: Callable[[object], object]) -> object:
        if next(written) == after:
            raise error
        return write(store, fill)

    monkeypatch.setattr(Objects, "write", torn)
    with pytest.raises(type(error)):
        clinic.back_up()
    assert damaged_contents(clinic.folder, tell_nobody) == (former, [])
    monkeypatch.undo()
    clinic.back_up()
    assert damaged_contents(clinic.folder, tell_nobody)[1] == []
    assert {path.name for path in clinic.folder.iterdir()} == {"manifest.json", "objects", "lock"}


def test_a_fault_at_the_last_step_leaves_the_former_one_whole(
    clinic: Clinic, monkeypatch: pytest.MonkeyPatch
) -> None:
    former = clinic.back_up()
    (page,) = (clinic.storage.root / "results").rglob("*.dcm")
    page.write_bytes(b"another")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space")

    monkeypatch.setattr(BackupFolder, "write", full)
    with pytest.raises(OSError, match="no space"):
        clinic.back_up()
    assert damaged_contents(clinic.folder, tell_nobody) == (former, [])


def test_a_backup_whose_list_is_damaged_is_made_anew(clinic: Clinic) -> None:
    listing = BackupFolder(clinic.folder).objects.path(clinic.back_up().listing)
    _flip(listing)
    assert clinic.back_up().copied == len(hashes(clinic.storage))
    assert damaged_contents(clinic.folder, tell_nobody)[1] == []


def test_a_flipped_byte_is_found_in_every_content(clinic: Clinic) -> None:
    manifest = clinic.back_up()
    contents = objects(clinic.folder)
    assert len(contents) > 30
    for path in contents - {BackupFolder(clinic.folder).objects.path(manifest.listing)}:
        _flip(path)
        _, damage = damaged_contents(clinic.folder, tell_nobody)
        assert damage, path
        assert all(path.name in sentence for sentence in damage)
        _flip(path)
    assert damaged_contents(clinic.folder, tell_nobody)[1] == []


@pytest.mark.parametrize("name", ["manifest", "listing"])
def test_a_damaged_manifest_or_list_is_told(clinic: Clinic, name: str) -> None:
    manifest = clinic.back_up()
    place = BackupFolder(clinic.folder)
    path = clinic.folder / "manifest.json" if name == "manifest" else place.objects.path(manifest.listing)
    _flip(path)
    with pytest.raises(BackupDamaged, match="is damaged"):
        damaged_contents(clinic.folder, tell_nobody)


def test_a_content_that_is_gone_is_found_and_copied_again(clinic: Clinic) -> None:
    clinic.back_up()
    (page,) = (clinic.storage.root / "results").rglob("*.dcm")
    digest = hashes(clinic.storage)[str(page.relative_to(clinic.storage.root))]
    (clinic.folder / "objects" / digest[:2] / digest).unlink()
    (sentence,) = damaged_contents(clinic.folder, tell_nobody)[1]
    assert page.name in sentence
    assert clinic.back_up().copied == 1


def test_files_that_the_storage_lacks_are_counted_and_stop_nothing(clinic: Clinic) -> None:
    shutil.rmtree(clinic.storage.quarantine)
    assert clinic.back_up().missing == 1


def test_what_the_storage_lost_stays_in_the_backup(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    there, lost = hashes(clinic.storage), len(list((clinic.storage.root / "store").rglob("*.dcm")))
    shutil.rmtree(clinic.storage.root / "store")
    for _ in range(2):
        manifest = clinic.back_up()
        assert (manifest.missing, manifest.files) == (lost, len(there))
    fresh.restore(clinic.folder)
    assert hashes(fresh.storage) == there


def test_a_database_set_up_anew_does_not_replace_the_backup(clinic: Clinic, fresh: Fresh) -> None:
    former = clinic.back_up()
    migrate.upgrade(fresh.engine)
    with pytest.raises(Unavailable, match="the backup of another installation"):
        back_up(fresh.engine, fresh.storage, clinic.folder, tell_nobody)
    assert damaged_contents(clinic.folder, tell_nobody) == (former, [])


def test_no_migration_begins_while_rows_are_copied(clinic: Clinic) -> None:
    """It would wait until its lock times out: here at once."""
    refused = []

    def tell(what: str, number: int, _total: int) -> None:
        if (what, number) == ("tables", 1):
            impatient = connect(clinic.engine.url.render_as_string(hide_password=False))
            with impatient.connect() as connection:
                connection.execute(text("set local lock_timeout = '100ms'"))
                with pytest.raises(OperationalError, match="lock timeout"):
                    migrate.upgrade_within(connection)
            impatient.dispose()
            refused.append(what)

    clinic.back_up(tell)
    assert refused == ["tables"]
    migrate.upgrade(clinic.engine)  # it does not wait for a backup that has ended


def test_a_backup_during_a_migration_is_refused_and_leaves_the_former_one(clinic: Clinic) -> None:
    former = clinic.back_up()
    with clinic.engine.begin() as connection:
        migrate.upgrade_within(connection)
        with pytest.raises(Unavailable, match="being migrated"):
            clinic.back_up()
    assert damaged_contents(clinic.folder, tell_nobody) == (former, [])


def test_two_backups_into_one_folder_are_one_too_many(clinic: Clinic) -> None:
    clinic.back_up()
    with (
        BackupFolder(clinic.folder).locked(writing=True),
        pytest.raises(Unavailable, match="runs already"),
    ):
        clinic.back_up()


def test_a_backup_within_the_storage_is_refused(clinic: Clinic) -> None:
    clinic.folder = clinic.storage.root / "backup"
    with pytest.raises(Unavailable, match="choose another disk"):
        clinic.back_up()
    assert not clinic.folder.exists()


def test_a_database_of_another_version_is_told_and_nothing_is_written(clinic: Clinic) -> None:
    with clinic.engine.begin() as connection:
        connection.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(Unavailable, match="those of a newer version"):
        clinic.back_up()
    assert not clinic.folder.exists()


def _flip(path: Path) -> None:
    """Turn over a bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
