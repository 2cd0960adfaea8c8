"""A restored installation is the one that was backed up, and goes on where it was."""

import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import OperationalError

from db import migrate
from neurotriage.backup import BackupDamaged
from neurotriage.backup.listing import ListedFile, new_listing
from neurotriage.backup.manifest import BackupFolder
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import Settings
from neurotriage.demo.pacs import StandInPacs
from tests.backup.conftest import Clinic, Fresh, acknowledged_in, contents, hashes
from tests.db.rows import claimed, expire_leases, receive
from tests.worker.studies import head_ct
from worker.delivery import deliver


def test_every_row_and_every_byte_comes_back(clinic: Clinic, fresh: Fresh) -> None:
    manifest = clinic.back_up()
    assert fresh.restore(clinic.folder) == manifest
    assert contents(fresh.engine) == contents(clinic.engine)
    assert sum(count for count, _ in contents(fresh.engine).values()) == manifest.rows + 1  # the revision
    assert hashes(fresh.storage) == hashes(clinic.storage)
    for path in fresh.storage.root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_a_database_that_a_service_made_and_nobody_used_is_empty_enough(clinic: Clinic, fresh: Fresh) -> None:
    migrate.upgrade(fresh.engine)
    clinic.back_up()
    fresh.restore(clinic.folder)
    assert contents(fresh.engine) == contents(clinic.engine)


def test_new_rows_are_numbered_after_the_restored_ones(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    fresh.restore(clinic.folder)
    with fresh.engine.begin() as connection:
        newest = connection.execute(text("select max(id) from studies")).scalar_one()
        assert receive(connection, 1, study="2.25.4") > newest


def test_new_rows_are_numbered_so_in_a_schema_of_the_role_too(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    with fresh.engine.begin() as connection:
        connection.execute(text("create schema authorization current_user"))
    test_new_rows_are_numbered_after_the_restored_ones(clinic, fresh)


def test_a_table_of_others_is_no_part_of_it(clinic: Clinic, fresh: Fresh) -> None:
    with clinic.engine.begin() as connection:
        connection.execute(text("create table spatial_ref_sys (srid int)"))
    clinic.back_up()
    fresh.restore(clinic.folder)
    assert contents(fresh.engine) == {
        name: rows for name, rows in contents(clinic.engine).items() if name != "spatial_ref_sys"
    }


def test_text_comes_back_whatever_encoding_the_client_names(
    clinic: Clinic, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    with clinic.engine.begin() as connection:
        connection.execute(text("update quarantined set reason = 'Müller'"))
    clinic.engine.dispose()
    monkeypatch.setenv("PGCLIENTENCODING", "LATIN1")
    clinic.back_up()
    clinic.engine.dispose()
    monkeypatch.undo()
    fresh.restore(clinic.folder)
    assert contents(fresh.engine) == contents(clinic.engine)


def test_the_spool_is_recorded_after_a_restore(clinic: Clinic, fresh: Fresh) -> None:
    waiting = clinic.receive(2)
    clinic.back_up()
    fresh.restore(clinic.folder)
    assert waiting in acknowledged_in(fresh)


def test_a_backup_of_restored_files_copies_none_again(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    fresh.restore(clinic.folder)
    clinic.site.engine, clinic.site.storage = fresh.engine, fresh.storage
    assert clinic.back_up().copied == 0


def test_what_is_analysed_and_sent_after_a_restore_is_what_was_sent_before_the_disaster(
    clinic: Clinic, fresh: Fresh, tmp_path: Path
) -> None:
    """The worker held a lease, and a delivery was on its way, when the backup was made."""
    with StandInPacs(tmp_path / "pacs") as pacs:
        site = clinic.site
        site.worker.settings = _sends_to(site.worker.settings, pacs)
        second = site.receive(head_ct(StudyInstanceUID="2.25.200"))
        with clinic.engine.begin() as connection:
            claimed(connection, second, owner="a worker that dies")
            connection.execute(text("update deliveries set state = 'sending', attempts = 1"))
            connection.execute(
                text(
                    "insert into destination_leases (destination, owner, token, lease_until) "
                    "values ('pacs', 'a sender that dies', 1, now() + interval '1 hour')"
                )
            )
        clinic.back_up()
        _expire(clinic.engine)
        site.worker.analyse(second)
        deliver(clinic.engine, site.worker.settings, "pacs", owner="before")
        before = {uid: path.read_bytes() for uid, path in pacs.received().items()}

        fresh.restore(clinic.folder)
        worker = fresh.worker(site.worker.settings)
        worker.analyse(second)
        assert _states(fresh.engine) == [("analysed",), ("analysing",)]  # its lease holds still
        _expire(fresh.engine)  # as the clock does
        worker.analyse(second)
        assert deliver(fresh.engine, worker.settings, "pacs", owner="after") == len(before) == 2
        assert pacs.received().keys() == before.keys()
    assert _states(fresh.engine) == [("analysed",), ("analysed",)]
    with fresh.engine.connect() as connection:
        states = set(connection.execute(text("select state from deliveries")).scalars())
    assert states == {"stored"}


def _sends_to(settings: Settings, pacs: StandInPacs) -> Settings:
    document = settings.model_dump()
    document["destination"][0]["port"] = pacs.port
    return Settings.model_validate(document)


def _expire(engine: Engine) -> None:
    with engine.begin() as connection:
        expire_leases(connection)


def _states(engine: Engine) -> list[tuple[str]]:
    with engine.connect() as connection:
        return [tuple(row) for row in connection.execute(text("select state from revisions order by id"))]


def test_a_backup_of_an_older_version_is_brought_to_this_schema(
    clinic: Clinic, fresh: Fresh, request: pytest.FixtureRequest
) -> None:
    older = clinic.back_up().revision
    newer = request.getfixturevalue("later_revision")
    assert older < newer
    fresh.restore(clinic.folder)
    assert migrate.problem(fresh.engine) is None
    with fresh.engine.connect() as connection:
        assert migrate.revision_of(connection) == newer
        assert connection.execute(text("select count(ward), count(*) from studies")).one() == (0, 1)


def _untouched(fresh: Fresh) -> bool:
    """Whether neither rows nor files are there."""
    counts = contents(fresh.engine)
    kept = {name for name, (count, _) in counts.items() if count} - {"alembic_version", "installation"}
    return not kept and not any(path.is_file() for path in fresh.storage.root.rglob("*.*"))


def test_a_backup_of_a_newer_schema_is_refused(clinic: Clinic, fresh: Fresh) -> None:
    place = BackupFolder(clinic.folder)
    place.write(clinic.back_up().model_copy(update={"revision": "9999"}))
    with pytest.raises(BackupDamaged, match=r"schema 9999.*install that one"):
        fresh.restore(clinic.folder)
    assert _untouched(fresh)


def test_a_database_with_rows_is_refused_and_left_alone(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    migrate.upgrade(fresh.engine)
    with fresh.engine.begin() as connection:
        receive(connection, 1)
    before = contents(fresh.engine)
    with pytest.raises(Unavailable, match=r"the database is not empty \(table studies\)"):
        fresh.restore(clinic.folder)
    assert contents(fresh.engine) == before
    assert not fresh.storage.root.exists()


@pytest.mark.parametrize(
    "name", ["store/ab/abc.dcm", "results/7/2.25.1.dcm", "quarantine/x.dcm", "spool/main/new/1.dcm"]
)
def test_a_storage_with_other_files_is_refused_and_left_alone(
    clinic: Clinic, fresh: Fresh, name: str
) -> None:
    clinic.back_up()
    other = fresh.storage.root / name
    other.parent.mkdir(parents=True)
    other.write_bytes(b"ours")
    with pytest.raises(Unavailable, match=f"the backup knows no {name}"):
        fresh.restore(clinic.folder)
    assert hashes(fresh.storage).keys() == {name}
    assert contents(fresh.engine) == {}


def test_a_file_with_other_bytes_is_never_overwritten(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    there = fresh.storage.evidence(1)
    there.parent.mkdir(parents=True)
    there.write_bytes(b"of another installation")
    with pytest.raises(Unavailable, match="is not that of the backup"):
        fresh.restore(clinic.folder)
    assert there.read_bytes() == b"of another installation"
    assert contents(fresh.engine) == {}


def test_a_restore_that_was_interrupted_goes_on(clinic: Clinic, fresh: Fresh) -> None:
    clinic.receive(2)
    manifest = clinic.back_up()

    class Interrupted(Exception):
        pass

    def tell(what: str, number: int, _total: int) -> None:
        if (what, number) == stop:
            raise Interrupted

    last = manifest.files  # the second of two in the spool
    for moment in (("files", 3), ("files", last - 2), ("tables", 5), ("files", last - 1), ("files", last)):
        stop = moment
        with pytest.raises(Interrupted):
            fresh.restore(clinic.folder, tell)
        assert contents(fresh.engine).get("studies", (0, ""))[0] == 0
    fresh.restore(clinic.folder)
    assert contents(fresh.engine) == contents(clinic.engine)
    assert hashes(fresh.storage) == hashes(clinic.storage)


def test_a_spooled_file_that_is_damaged_leaves_no_row(clinic: Clinic, fresh: Fresh) -> None:
    clinic.back_up()
    (waiting,) = (clinic.storage.spools / "main" / "new").iterdir()
    digest = hashes(clinic.storage)[str(waiting.relative_to(clinic.storage.root))]
    copy = clinic.folder / "objects" / digest[:2] / digest
    data = copy.read_bytes()
    copy.write_bytes(data[::-1])
    with pytest.raises(BackupDamaged, match="is damaged"):
        fresh.restore(clinic.folder)
    copy.write_bytes(data)
    fresh.restore(clinic.folder)
    assert contents(fresh.engine) == contents(clinic.engine)
    assert hashes(fresh.storage) == hashes(clinic.storage)


def test_no_flipped_byte_becomes_a_row_or_a_file(clinic: Clinic, fresh: Fresh) -> None:
    manifest = clinic.back_up()
    place = BackupFolder(clinic.folder)
    (page,) = (clinic.storage.root / "results").rglob("*.dcm")
    digest = hashes(clinic.storage)[str(page.relative_to(clinic.storage.root))]
    of_page = clinic.folder / "objects" / digest[:2] / digest
    for path in (of_page, place.objects.path(manifest.tables[0].content)):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
        with pytest.raises(BackupDamaged, match="is damaged"):
            fresh.restore(clinic.folder)
        data[-1] ^= 1
        path.write_bytes(data)
        assert contents(fresh.engine) == {}
        assert not list(fresh.storage.root.rglob(page.name))
    fresh.restore(clinic.folder)


@pytest.mark.parametrize("name", ["../outside.dcm", "store/../../outside.dcm", "/tmp/outside.dcm"])
def test_no_file_is_put_outside_of_the_storage(
    clinic: Clinic, fresh: Fresh, name: str, tmp_path: Path
) -> None:
    place, manifest = BackupFolder(clinic.folder), clinic.back_up()
    content = manifest.tables[0].content
    with new_listing(tmp_path / "forged") as listing:
        listing.put(ListedFile(name, content, 0))
    with (tmp_path / "forged").open("rb") as file:
        place.write(manifest.model_copy(update={"listing": place.objects.add(file)}))
    with pytest.raises(BackupDamaged, match="outside of the storage"):
        fresh.restore(clinic.folder)
    assert not fresh.storage.root.exists()
    assert contents(fresh.engine) == {}


def test_rows_that_a_service_writes_meanwhile_stop_a_restore(clinic: Clinic, fresh: Fresh) -> None:
    manifest = clinic.back_up()

    def tell(what: str, number: int, _total: int) -> None:
        if (what, number) == ("files", manifest.files - 1):  # only the spool comes later
            migrate.upgrade(fresh.engine)
            with fresh.engine.begin() as connection:
                receive(connection, 1, study="2.25.4")

    with pytest.raises(Unavailable, match="the database is not empty"):
        fresh.restore(clinic.folder, tell)
    assert contents(fresh.engine)["instances"][0] == 1
    assert not (fresh.storage.spools / "main" / "new").exists()


def test_no_service_writes_rows_that_a_restore_would_drop(
    clinic: Clinic, fresh: Fresh, monkeypatch: pytest.MonkeyPatch
) -> None:
    clinic.back_up()
    migrate.upgrade(fresh.engine)
    command, refused = migrate.command.downgrade, []

    def downgrade(*arguments: object) -> None:
        with fresh.engine.connect() as connection:
            connection.execute(text("set local lock_timeout = '100ms'"))
            with pytest.raises(OperationalError, match="lock timeout"):
                receive(connection, 1, study="2.25.4")
        refused.append(arguments)
        command(*arguments)

    monkeypatch.setattr(migrate.command, "downgrade", downgrade)
    fresh.restore(clinic.folder)
    assert len(refused) == 1
    assert contents(fresh.engine) == contents(clinic.engine)


def test_a_folder_without_a_backup_is_told(fresh: Fresh, tmp_path: Path) -> None:
    with pytest.raises(BackupDamaged, match="there is no backup in"):
        fresh.restore(tmp_path)
