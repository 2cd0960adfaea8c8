"""``results --pictures`` writes what a viewer would show, with plain names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread
from sqlalchemy import Engine, text
from typer.testing import CliRunner, Result

from db.studies import analyses
from db.studies.objects import WrittenObject
from neurotriage.cli import app
from neurotriage.core.settings import CONFIG_VARIABLE
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.values import Outcome, ResultKind
from neurotriage.phantom import make_analysis, make_study
from tests.db.rows import NOW, STUDY, claimed, ready_revision, receive
from worker.results import build

KINDS = frozenset({ResultKind.PAGE, ResultKind.OVERLAY, ResultKind.OVERLAY_FRAMES, ResultKind.REPORT})


@pytest.fixture(autouse=True)
def _configured(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setenv("NEUROTRIAGE__DATABASE__URL", database_url)
    monkeypatch.setenv("NEUROTRIAGE__STORAGE__ROOT", str(tmp_path / "storage"))


@pytest.fixture
def objects(engine: Engine, tmp_path: Path) -> dict[str, Path]:
    """The stored objects of an analysed study, by kind and number."""
    storage = Storage(tmp_path / "storage")
    made = make_study(tmp_path / "images", shape=(96, 96), slices=9)
    analysis, evidence = make_analysis(made, Outcome.PRESENT, analysed_at=NOW, software_version="0")
    with engine.begin() as connection:
        held = claimed(connection, ready_revision(connection))
        written = []
        for result in build(analysis, evidence, made.manifest, "2.25.1", kinds=KINDS).objects:
            path = storage.result(held.revision_id, result.sop_instance_uid)
            write_durably(path, result.data)
            written.append(WrittenObject(result, path.relative_to(storage.root), ("pacs", "archive")))
        assert analyses.record_analysis(connection, held, analysis, NOW, written)
    return {f"{item.result.kind}-{item.result.index}": storage.root / item.path for item in written}


def _say(*words: str, exit_code: int = 0) -> Result:
    answer = CliRunner().invoke(app, ["results", *words])
    assert answer.exit_code == exit_code, answer.output
    return answer


def test_page_and_overlays_are_written_as_the_objects_show_them(
    objects: dict[str, Path], tmp_path: Path
) -> None:
    told = _say("--pictures", str(tmp_path / "out"), STUDY).stdout.splitlines()
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert sorted(Path(line).name for line in told) == names
    overlays = [name for name in objects if name.startswith("overlay-") and "multi" not in name]
    assert len(overlays) > 1
    frames = int(dcmread(objects["overlay-multiframe-0"]).NumberOfFrames)
    assert names == sorted(
        [
            "page.png",
            *(f"overlay-{number:02d}.png" for number in range(1, len(overlays) + 1)),
            *(f"overlay-multiframe-{number:02d}.png" for number in range(1, frames + 1)),
        ]
    )
    for name, stored in (("page.png", "page-0"), ("overlay-02.png", "overlay-1")):
        shown = np.asarray(Image.open(tmp_path / "out" / name))
        assert np.array_equal(shown, dcmread(objects[stored]).pixel_array)
    last = np.asarray(Image.open(tmp_path / "out" / f"overlay-multiframe-{frames:02d}.png"))
    assert np.array_equal(last, dcmread(objects["overlay-multiframe-0"]).pixel_array[-1])


@pytest.mark.usefixtures("objects")
def test_studies_of_one_accession_number_have_a_folder_each(engine: Engine, tmp_path: Path) -> None:
    with engine.begin() as connection:
        receive(connection, 1, study="1.2.4")
    answer = _say("--pictures", str(tmp_path / "out"), "A1", exit_code=1)
    assert answer.stderr == "1.2.4 has no pictures: it is open\n"
    assert (tmp_path / "out" / STUDY / "page.png").is_file()


@pytest.mark.usefixtures("objects")
def test_results_of_one_study_are_shown_alone(engine: Engine) -> None:
    with engine.begin() as connection:
        receive(connection, 1, study="1.2.4")
        connection.execute(
            text("update studies set accession_number = 'A2' where study_instance_uid = '1.2.4'")
        )
    told = _say("A2").stdout
    assert "1.2.4" in told
    assert STUDY not in told


def test_pictures_of_what_is_not_there_are_told(objects: dict[str, Path], tmp_path: Path) -> None:
    assert _say("--pictures", str(tmp_path), exit_code=2)
    assert "no study has" in _say("--pictures", str(tmp_path), "9.9.9", exit_code=1).stderr
    objects["page-0"].unlink()
    answer = CliRunner().invoke(app, ["results", "--pictures", str(tmp_path / "out"), STUDY])
    assert isinstance(answer.exception, FileNotFoundError)  # `main` tells it in a line
