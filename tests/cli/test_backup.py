"""``neurotriage backup`` and ``neurotriage restore``, as an admin calls them."""

import os
from pathlib import Path

import pytest
from sqlalchemy import Engine
from typer.testing import CliRunner

from db import migrate
from db.engine import connect
from neurotriage.cli import app
from neurotriage.core.errors import SetupError, Unavailable
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.core.storage import Storage, write_durably
from neurotriage.embedded import EmbeddedPostgres
from tests.db.rows import receive


@pytest.fixture
def storage(database_url: str, engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Storage:
    """Configured, with an instance in it."""
    storage = Storage(tmp_path / "storage")
    _choose(monkeypatch, database_url, storage)
    with engine.begin() as connection:
        receive(connection, 1)
        (digest,) = connection.exec_driver_sql("select digest from instances").scalars()
    write_durably(storage.stored_instance(digest), b"DICOM")
    return storage


def _choose(patch: pytest.MonkeyPatch, url: str, storage: Storage) -> None:
    patch.setenv(CONFIG_VARIABLE, os.devnull)
    patch.setenv("NEUROTRIAGE__DATABASE__URL", url)
    patch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(storage.root))


def test_a_backup_is_made_checked_and_restored_by_command(
    storage: Storage, empty_database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "backup"
    made = CliRunner().invoke(app, ["backup", str(folder)])
    assert (made.exit_code, made.stderr) == (0, "")
    assert made.stdout.startswith(f"in {folder}: ")
    assert made.stdout.endswith(" rows, 1 file (0.0 MB), new: 1 file\n")
    checked = CliRunner().invoke(app, ["backup", str(folder), "--verify"])
    assert (checked.exit_code, "is whole" in checked.stdout) == (0, True)
    _choose(monkeypatch, empty_database_url, Storage(tmp_path / "restored"))
    restored = CliRunner().invoke(app, ["restore", str(folder)])
    assert (restored.exit_code, restored.stderr, "1 file (" in restored.stdout) == (0, "", True)
    (file,) = (tmp_path / "restored").rglob("*.dcm")
    assert file.read_bytes() == b"DICOM"
    refused = CliRunner().invoke(app, ["restore", str(folder)])
    assert isinstance(refused.exception, Unavailable)
    assert "the database is not empty" in str(refused.exception)


def test_damage_is_named_with_what_to_do(storage: Storage, tmp_path: Path) -> None:
    folder = tmp_path / "backup"
    CliRunner().invoke(app, ["backup", str(folder)])
    (content,) = (path for path in folder.rglob("*") if path.is_file() and path.read_bytes() == b"DICOM")
    content.write_bytes(b"DICON")
    checked = CliRunner().invoke(app, ["backup", str(folder), "--verify"])
    assert checked.exit_code == 1
    named, advice = checked.stderr.splitlines()
    assert (str(content) in named, "delete these files and back up again" in advice) == (True, True)
    content.unlink()
    assert CliRunner().invoke(app, ["backup", str(folder)]).exit_code == 0
    assert content.read_bytes() == b"DICOM"


def test_files_that_the_storage_lacks_are_told_and_the_rest_is_kept(storage: Storage, tmp_path: Path) -> None:
    (file,) = storage.root.rglob("*.dcm")
    file.unlink()
    made = CliRunner().invoke(app, ["backup", str(tmp_path / "backup")])
    assert made.exit_code == 1
    assert made.stderr == "the storage lacks 1 file that the database names\n"
    assert CliRunner().invoke(app, ["backup", str(tmp_path / "backup"), "--verify"]).exit_code == 0


def test_a_database_that_does_not_answer_is_told_in_a_sentence(
    storage: Storage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _choose(monkeypatch, f"postgresql://nobody@/nothing?host={tmp_path}", storage)
    made = CliRunner().invoke(app, ["backup", str(tmp_path / "backup")])
    assert isinstance(made.exception, Unavailable)
    assert str(made.exception).startswith("Postgres does not answer")


def test_there_must_be_a_backup_to_check(storage: Storage, tmp_path: Path) -> None:
    checked = CliRunner().invoke(app, ["backup", str(tmp_path / "nothing"), "--verify"])
    assert isinstance(checked.exception, SetupError)
    assert not (tmp_path / "nothing").exists()


def test_where_there_is_no_database_none_is_made_to_be_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    made = CliRunner().invoke(app, ["backup", str(tmp_path / "backup")])
    assert isinstance(made.exception, Unavailable)
    assert "no `neurotriage serve` ever ran in" in str(made.exception)
    assert list(tmp_path.iterdir()) == []


def test_a_database_of_a_serve_that_does_not_run_is_backed_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, os.devnull)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))
    with EmbeddedPostgres(tmp_path / "storage" / "serve" / "postgres", durable=False) as postgres:
        engine = connect(postgres.start())
        migrate.upgrade(engine)
        engine.dispose()
    made = CliRunner().invoke(app, ["backup", str(tmp_path / "backup")])
    assert (made.exit_code, ": 1 row, 0 files" in made.stdout) == (0, True), made
    postgres.remove()
