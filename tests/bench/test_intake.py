"""``python -m bench.intake`` and ``python -m bench.hostile`` say what they promise, in a short form."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from pydicom import dcmread

from bench.figures import Figure
from bench.hostile.crowd import Sizes
from bench.hostile.mutate import mutated
from bench.hostile.mutations import mutations
from bench.hostile.siege import siege
from bench.intake import __main__ as intake
from bench.intake import burden
from bench.peers.drawn import DrawnStudy

BESIDE_OTHER_TESTS = 3.0


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    before = structlog.get_config()
    yield
    structlog.configure(**before)


@pytest.mark.scenario
@pytest.mark.usefixtures("dcmtk", "orthanc")
def test_the_figures_of_intake_have_the_agreed_shape(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(burden, "IDLE_S", 1.0)
    file = tmp_path / "figures.json"
    intake.main(
        ["--images", "12", "--side-px", "32", "--rounds", "1", "--catch-up", "20", "--json", str(file)]
    )
    document = json.loads(file.read_text())
    ours = document["images_per_s"]
    for name, ratio in (("Orthanc", "ratio_to_orthanc"), ("storescp", "ratio_to_storescp")):
        for associations in ("1", "4"):
            (theirs,) = document["rounds_per_s"][name][associations]
            assert document[ratio][associations] == pytest.approx(ours[associations] / theirs, rel=0.02)
    assert document["recorded_per_s"].keys() == document["cpu_ms_per_image"].keys() == {"1", "4"}
    assert 0 < document["recorded_per_s"]["1"] <= ours["1"]
    figures = {figure["what"]: figure["value"] for figure in document["figures"]}
    assert figures["not in the spool before Postgres came back"] == 0


@pytest.mark.scenario
@pytest.mark.usefixtures("dcmtk")
def test_a_listed_peer_works_among_a_crowd(tmp_path: Path) -> None:
    figures = _by_name(siege(tmp_path, Sizes(idle=20, slow=10, dribbling=5), work_s=3, images=5))
    assert figures["crowd: associations of the listed peer not accepted"].holds
    echo = figures["crowd: C-ECHO with its association, 99 of 100 within"]
    assert echo.value < BESIDE_OTHER_TESTS * echo.limit


@pytest.mark.scenario
def test_changed_messages_and_data_sets_all_end(tmp_path: Path) -> None:
    figures = mutations(tmp_path, 25, seed=20)
    assert len(figures) == 8
    assert [figure for figure in figures if not figure.holds] == []


@pytest.mark.unit
def test_the_same_seed_gives_the_same_changes() -> None:
    data = bytes(range(256))
    changed = [[mutated(data, random.Random(seed)) for seed in range(200)] for _ in range(2)]
    assert changed[0] == changed[1]
    assert len(set(changed[0])) > 150


@pytest.mark.unit
def test_a_renewed_study_is_the_same_images_under_new_uids(tmp_path: Path) -> None:
    study = DrawnStudy.draw(tmp_path, 4, 16)
    seen: set[str] = set()
    pixels = {path: dcmread(path).PixelData for path in study.places}
    for run in range(3):
        study.renew(run)
        images = {path: dcmread(path) for path in study.places}
        assert {path: image.PixelData for path, image in images.items()} == pixels
        assert len({image.StudyInstanceUID for image in images.values()}) == 1
        for image in images.values():
            assert image.file_meta.MediaStorageSOPInstanceUID == image.SOPInstanceUID
        uids = {image.SOPInstanceUID for image in images.values()}
        assert len(uids) == study.count
        assert not uids & seen
        seen |= uids


def _by_name(figures: list[Figure]) -> dict[str, Figure]:
    return {figure.what: figure for figure in figures}
