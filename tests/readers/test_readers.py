"""What other programs make of our objects. ``docs/viewers.md`` is the table of it."""

import gzip
import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.readers.conftest import NAME, Study

HERE = Path(__file__).parent
LIMIT_S = 120


def run(command: list[str | Path], told: str = "") -> str:
    """What a program says; it must end by itself, and well."""
    done = subprocess.run(command, input=told.encode(), capture_output=True, timeout=LIMIT_S, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert done.returncode == 0, said
    return said


def answer(said: str) -> str:
    """The line of JSON among what a script and its libraries say."""
    return next(line for line in said.splitlines() if line.startswith("{"))


@pytest.fixture(scope="module")
def python(readers: Path, study: Study) -> dict[str, dict[str, Any]]:
    """By reader and kind of object."""
    said = run([readers / "bin" / "python", "-W", "ignore", HERE / "read.py", study.objects])
    seen: dict[str, dict[str, Any]] = json.loads(answer(said))
    return seen


def marked(study: Study) -> int:
    return sum(int(item.mask.sum()) for item in study.evidence.slices)


@pytest.mark.parametrize("kind", ["page", "overlay", "overlay-multiframe"])
def test_pictures_are_read_by_simpleitk_and_gdcm(python: dict[str, dict[str, Any]], kind: str) -> None:
    assert python["SimpleITK"][kind]["shape"][-1] == 3
    assert python["GDCM"][kind] == "read"


def test_a_segmentation_has_its_voxels_in_every_reader(
    python: dict[str, dict[str, Any]], study: Study
) -> None:
    assert python["highdicom"]["seg"] == python["highdicom"]["seg-labelmap"] == marked(study)
    assert python["SimpleITK"]["seg"]["marked"] == marked(study)
    assert python["SimpleITK"]["seg"]["highest"] == 255  # SimpleITK's reading of one bit
    assert python["GDCM"]["seg"] == "read"


def test_a_label_map_is_converted_by_dicom2nifti(python: dict[str, dict[str, Any]], study: Study) -> None:
    """It places the frames of an object by In-Stack Position Number."""
    assert python["dicom2nifti"]["seg-labelmap"] == marked(study)


def test_what_readers_refuse_is_what_the_table_says(python: dict[str, dict[str, Any]]) -> None:
    refused = {
        (reader, kind)
        for reader, kinds in python.items()
        for kind in ("seg", "seg-labelmap", "pm")
        if str(kinds[kind]).startswith("refused")
    }
    assert refused == {
        ("SimpleITK", "pm"),
        ("SimpleITK", "seg-labelmap"),
        ("GDCM", "pm"),
        ("GDCM", "seg-labelmap"),
        ("dicom2nifti", "seg"),
        ("dicom2nifti", "pm"),
        ("highdicom", "pm"),
    }


def test_dcmqi_reads_a_map_number_by_number(readers: Path, study: Study, tmp_path: Path) -> None:
    program = readers / "bin" / "paramap2itkimage"
    run(
        [
            program,
            "--inputDICOM",
            study.objects / "pm-000.dcm",
            "--outputDirectory",
            tmp_path,
            "--prefix",
            "m",
        ]
    )
    told = json.loads((tmp_path / "m-meta.json").read_text())
    assert told["AnatomicRegionSequence"]["CodeMeaning"] == "Brain"
    shown = nrrd(tmp_path / "m-pmap.nrrd")
    heat = {item.slice_index: item.heat for item in study.evidence.slices}
    assert len(shown) == len(study.made.keys)
    assert all(
        np.array_equal(frame, heat[place].astype(np.float32) if place in heat else np.zeros_like(frame))
        for place, frame in enumerate(shown)
    )


def test_dcmqi_reads_a_segmentation_and_each_group_of_a_report(
    readers: Path, study: Study, tmp_path: Path
) -> None:
    seg, report = study.objects / "seg-000.dcm", study.objects / "report-000.dcm"
    run(
        [
            readers / "bin" / "segimage2itkimage",
            "--inputDICOM",
            seg,
            "--outputDirectory",
            tmp_path,
            "--prefix",
            "s",
        ]
    )
    assert (nrrd(tmp_path / "s-1.nrrd") > 0).sum() == marked(study)
    run([readers / "bin" / "tid1500reader", "--inputDICOM", report, "--outputMetadata", tmp_path / "sr.json"])
    groups = json.loads((tmp_path / "sr.json").read_text())["Measurements"]
    assert len(groups) == len(study.analysis.findings)


def test_dcm2niix_converts_pictures_beside_the_source_with_texts_that_can_be_read(
    readers: Path, study: Study, tmp_path: Path
) -> None:
    both = together(study, tmp_path / "both", "overlay", "page")
    run([readers / "bin" / "dcm2niix", "-ba", "n", "-o", tmp_path, "-f", "%s", both])
    told = [
        json.loads(path.read_text(encoding="utf-8", errors="replace")) for path in tmp_path.glob("*.json")
    ]
    assert len(told) == 3
    assert {item["PatientName"] for item in told} == {told[0]["PatientName"]}
    assert {item["StudyInstanceUID"] for item in told} == {study.made.manifest.study_instance_uid}


def test_mrtrix_shows_one_study(study: Study, program: Callable[[str, str], str], tmp_path: Path) -> None:
    """It takes one study in two character sets for two."""
    both = together(study, tmp_path / "both", "overlay", "page")
    command = [program("mrinfo", "mrtrix3"), str(both)]
    done = subprocess.run(command, input=b"q\nq\nq\n", capture_output=True, timeout=LIMIT_S, check=False)
    said = (done.stdout + done.stderr).decode("utf-8", "replace")
    assert "Select series" in said
    assert "Select study" not in said
    assert "Select patient" not in said


def test_the_document_is_one_page_of_the_day_of_the_analysis(
    study: Study, program: Callable[[str, str], str], tmp_path: Path
) -> None:
    file = study.objects / "pdf-000.dcm"
    run([program("dcm2pdf", "dcmtk"), file, tmp_path / "letter.pdf"])
    told = run([program("pdfinfo", "poppler-utils"), "-isodates", tmp_path / "letter.pdf"])
    assert re.search(r"^Pages: +1$", told, re.MULTILINE)
    assert f"{study.analysis.analysed_at:%Y-%m-}" in told
    assert re.search(r"^Creator: +neurotriage", told, re.MULTILINE)


def test_dwv_finds_every_region_of_a_report_and_the_adapters_make_none(
    readers: Path, study: Study, tmp_path: Path
) -> None:
    """Why the latter are not served: docs/viewers.md."""
    shutil.copy(HERE / "read.mjs", tmp_path)
    (tmp_path / "node_modules").symlink_to(readers / "node_modules")
    said = run(["node", tmp_path / "read.mjs", study.objects / "report-000.dcm"])
    assert json.loads(answer(said)) == {
        "dwv": len(study.analysis.findings),
        "adapters": 0,
    }


def test_dcmtk_shows_the_name_of_the_source(
    dcmtk: None, study: Study, program: Callable[[str, str], str]
) -> None:
    for file in sorted(study.objects.glob("*.dcm")):
        assert NAME in run([program("dcmdump", "dcmtk"), "+U8", "+P", "PatientName", file])


def together(study: Study, folder: Path, *kinds: str) -> Path:
    """Source images and objects in one folder, as an export has them."""
    shutil.copytree(study.sources, folder)
    for kind in kinds:
        for file in study.objects.glob(f"{kind}-0*.dcm"):
            shutil.copy(file, folder)
    return folder


def nrrd(path: Path) -> Any:
    """Voxels (slices, rows, columns) of an NRRD file as dcmqi writes it."""
    head, _, data = path.read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in head.decode().splitlines() if ": " in line)
    types = {"float": "<f4", "unsigned char": "u1", "short": "<i2", "unsigned short": "<u2", "int": "<i4"}
    raw = gzip.decompress(data) if fields["encoding"] in ("gzip", "gz") else data
    shape = [int(size) for size in fields["sizes"].split()][::-1]
    return np.frombuffer(raw, types[fields["type"]]).reshape(shape)
