"""Every object of every outcome is valid, belongs to the source's study, and is made anew byte by byte."""

import io
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, dcmread

from neurotriage.core.documents import from_document, to_document
from neurotriage.core.evidence import Evidence
from neurotriage.core.result_json import study_entry
from neurotriage.core.settings import ResultsSettings
from neurotriage.core.values import Omission, Outcome, ResultKind, ResultObject, SeriesLabel
from neurotriage.dicom.headers import is_own_result, read_image_header
from neurotriage.phantom import (
    INSTALLATION,
    MODEL_SHA256,
    STUDIES,
    TILTED,
    Made,
    make_analysis,
    make_fused_analysis,
    make_pair,
    make_study,
)
from worker.imaging import read_images
from worker.results import build
from worker.results.pictures.overlay import Layout
from worker.results.sources.scene import MAX_OVERLAYS, overlay_slices, read_scene


def built(folder: Path, study: dict[str, Any], outcome: Outcome, **changes: Any) -> tuple[ResultObject, ...]:
    made = make_study(folder, slices=9, **study)
    analysis, evidence = make_analysis(made, outcome, **changes)
    return build(analysis, evidence, made.manifest, INSTALLATION).objects


# Every slice as an overlay says nothing here that the overlays do not say.
EVERY_KIND = frozenset(ResultKind) - {ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES}


def of_every_kind(folder: Path, study: dict[str, Any], **changes: Any) -> tuple[ResultObject, ...]:
    """The objects of all kinds that a study with a finding has."""
    made = make_study(folder, **{"slices": 9, "shape": (96, 96), **study})
    analysis, evidence = make_analysis(made, Outcome.PRESENT, **changes)
    objects = build(analysis, evidence, made.manifest, INSTALLATION, kinds=EVERY_KIND).objects
    assert {result.kind for result in objects} == EVERY_KIND
    return objects


def read(result: ResultObject) -> Dataset:
    return dcmread(io.BytesIO(result.data))


def overlays_of(results: tuple[ResultObject, ...]) -> list[ResultObject]:
    return [result for result in results if result.kind is ResultKind.OVERLAY]


@pytest.mark.parametrize("outcome", Outcome)
def test_each_outcome_has_its_kinds_of_object(outcome: Outcome, tmp_path: Path) -> None:
    kinds = {result.kind for result in built(tmp_path, {}, outcome)}
    expected = {ResultKind.PAGE}
    if outcome.analysed:
        expected |= {ResultKind.REPORT}
    if outcome in (Outcome.PRESENT, Outcome.UNDETERMINED):
        expected |= {ResultKind.OVERLAY}
    assert kinds == expected


def test_a_rebuild_gives_the_same_bytes(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9)
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    again = Evidence.from_bytes(evidence.to_bytes())
    first = build(analysis, evidence, made.manifest, INSTALLATION, kinds=EVERY_KIND).objects
    later = replace(analysis, omissions=(Omission(ResultKind.PAGE, "told after the first time"),))
    second = build(later, again, made.manifest, INSTALLATION, kinds=EVERY_KIND).objects
    assert {r.kind for r in first} == EVERY_KIND
    assert [r.data for r in first] == [r.data for r in second]


def test_uids_differ_by_installation_model_and_input_and_never_collide(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9)
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    other_model = (replace(analysis.predictions[0], sha256=MODEL_SHA256[::-1]),)
    runs = [
        build(analysis, evidence, made.manifest, INSTALLATION).objects,
        build(analysis, evidence, made.manifest, "2.25.42").objects,
        build(replace(analysis, predictions=other_model), evidence, made.manifest, INSTALLATION).objects,
        build(replace(analysis, input_digest="0" * 64), evidence, made.manifest, INSTALLATION).objects,
    ]
    uids = [r.sop_instance_uid for run in runs for r in run]
    assert len(set(uids)) == len(uids)
    assert len({r.series_instance_uid for run in runs for r in run}) == 3 * len(runs)


def test_objects_carry_the_identity_of_the_source(tmp_path: Path) -> None:
    results = of_every_kind(tmp_path, STUDIES["kanji"])
    source = dcmread(next(tmp_path.glob("*.dcm")))
    for result in results:
        dataset = read(result)
        for keyword in (
            "PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "PatientSex",
            "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID", "AccessionNumber", "StudyDescription",
            "ReferringPhysicianName",
        ):  # fmt: skip
            assert dataset[keyword].value == source[keyword].value, keyword
        assert dataset.SOPInstanceUID == result.sop_instance_uid
        assert dataset.SeriesInstanceUID == result.series_instance_uid != source.SeriesInstanceUID


def test_objects_say_of_patient_and_study_all_that_the_source_says(tmp_path: Path) -> None:
    results = of_every_kind(tmp_path, STUDIES["talkative"])
    source = dcmread(next(tmp_path.glob("*.dcm")))
    for result in results:
        dataset = read(result)
        for keyword in STUDIES["talkative"]["header"]:
            assert dataset[keyword].value == source[keyword].value, keyword


@pytest.mark.parametrize(
    ("character_set", "name", "written"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎", ["", "ISO 2022 IR 87"]),
        ("ISO_IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("ISO_IR 101", "Dvořák^Jiří", "ISO_IR 101"),
        ("ISO_IR 144", "Люкceмбypг", "ISO_IR 144"),
        ("ISO_IR 127", "قباني^لنزار", "ISO_IR 127"),
        ("ISO_IR 126", "Διονυσιος", "ISO_IR 126"),
        ("ISO_IR 138", "שרון^דבורה", "ISO_IR 138"),
        ("ISO_IR 148", "Çavuşoğlu^Işıl", "ISO_IR 148"),
        ("ISO_IR 166", "นามสกุล^ชื่อ", "ISO_IR 166"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
        ("ISO 2022 IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("ISO 2022 IR 87", "Doe^Jane", ["", "ISO 2022 IR 87"]),
        ("ISO 2022 IR 6", "Doe^Jane", None),
        (
            ["ISO 2022 IR 13", "ISO 2022 IR 87"],
            "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
            ["ISO 2022 IR 13", "ISO 2022 IR 87"],
        ),
        (["", "ISO 2022 IR 87", "ISO 2022 IR 159"], "A=山田^太郎", ["", "ISO 2022 IR 87", "ISO 2022 IR 159"]),
        (["", "ISO 2022 IR 58"], "Zhang^XiaoDong=张^小东", ["", "ISO 2022 IR 58"]),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        (["ISO 2022 IR 100", "ISO 2022 IR 144"], "Müller=Иванов", ["ISO 2022 IR 100", "ISO 2022 IR 144"]),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        ("GBK", "Wang^XiaoDong=王^小东", "GBK"),
        ("ISO_IR 192", "Müller=山田", "ISO_IR 192"),
        (None, "Doe^Jane", None),
        ("", "Doe^Jane", None),
        # no defined terms, as devices write them
        ("ISO_IR 6", "Doe^Jane", None),
        ("ISO-IR 100", "Müller^Jörg", "ISO_IR 100"),
        ("latin_1", "Müller^Jörg", "ISO_IR 192"),
        # Latin letters where none are announced: written as what readers take them for
        (None, "Müller^Jörg", "ISO_IR 192"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*Specific Character Set", "ignore:.*encod")
def test_objects_are_written_in_the_source_s_character_set(
    tmp_path: Path, character_set: Any, name: str, written: Any, errors_of: Callable[[bytes], list[str]]
) -> None:
    description = name.split("^")[0].split("=")[-1]
    header = {"SpecificCharacterSet": character_set, "PatientName": name, "StudyDescription": description}
    results = of_every_kind(tmp_path, {"header": header})
    source = dcmread(next(tmp_path.glob("*.dcm")))
    for result in results:
        dataset = read(result)
        assert dataset.get("SpecificCharacterSet") == written
        assert (str(dataset.PatientName), dataset.StudyDescription) == (name, description)
        if written == character_set:
            assert read(result).get_item("PatientName").value == source_bytes(tmp_path, "PatientName")
    assert source.PatientName == name
    if written not in ("ISO_IR 13", "GBK"):  # which are legal and dciodvfy does not know
        assert errors_of(results[0].data) == []


def source_bytes(folder: Path, keyword: str) -> bytes:
    """A value as it lies in the source's file."""
    value: bytes = dcmread(next(folder.glob("*.dcm"))).get_item(keyword).value
    return value


@pytest.mark.parametrize("character_set", ["ISO_IR 100", None, ["", "ISO 2022 IR 87"]])
def test_what_the_source_s_character_set_lacks_is_written_in_utf_8(
    tmp_path: Path, character_set: Any
) -> None:
    made = make_study(tmp_path, slices=9, header={"SpecificCharacterSet": character_set})
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    labels = ResultsSettings.model_validate(
        {"series": [{"kind": "page", "number": 77, "description": "ذكاء"}]}
    ).labels
    page, *others = build(analysis, evidence, made.manifest, INSTALLATION, labels=labels).objects
    assert (read(page).SpecificCharacterSet, read(page).SeriesDescription) == ("ISO_IR 192", "ذكاء")
    assert all(read(result).get("SpecificCharacterSet") == character_set for result in others)


def test_bytes_beyond_the_announced_character_set_cost_no_object(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9, header={"SpecificCharacterSet": "ISO_IR 100", "PatientName": "Mue"})
    for path in tmp_path.glob("*.dcm"):
        path.write_bytes(path.read_bytes().replace(b"Mue ", b"\x81\xff\x1b\xc3"))
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    page, *_ = build(analysis, evidence, made.manifest, INSTALLATION).objects
    assert read(page).get_item("PatientName").value == b"\x81\xff\x1b\xc3"


def test_an_over_long_patient_id_is_not_cut(tmp_path: Path) -> None:
    results = built(tmp_path, {"header": {"PatientID": "P" * 80}}, Outcome.NOT_ELIGIBLE)
    assert read(results[0]).PatientID == "P" * 80


def test_objects_are_recognised_as_our_own(tmp_path: Path) -> None:
    for result in of_every_kind(tmp_path, {}):
        dataset = read(result)
        assert is_own_result(dataset)
        dataset.Manufacturer = "An archive that coerces"
        assert is_own_result(dataset)


def test_times_are_those_of_the_analysis_in_the_time_zone_of_the_source(tmp_path: Path) -> None:
    when = datetime(2026, 3, 1, 23, 45, 0, tzinfo=UTC)
    for result in of_every_kind(tmp_path, {}, analysed_at=when):
        dataset = read(result)
        assert dataset.TimezoneOffsetFromUTC == "+0100"
        for part in ("InstanceCreation", "Series", "Content"):
            assert (dataset[f"{part}Date"].value, dataset[f"{part}Time"].value) == ("20260302", "004500")


def test_without_a_source_time_zone_the_analysis_keeps_its_own(tmp_path: Path) -> None:
    when = datetime(2026, 3, 1, 23, 45, 0, tzinfo=timezone(timedelta(hours=-5)))
    study = {"without": ("TimezoneOffsetFromUTC",)}
    dataset = read(built(tmp_path, study, Outcome.ABSENT, analysed_at=when)[0])
    assert (dataset.TimezoneOffsetFromUTC, dataset.ContentTime) == ("-0500", "234500")


def test_a_study_without_a_study_uid_gets_no_object(tmp_path: Path) -> None:
    assert built(tmp_path, {}, Outcome.NOT_ELIGIBLE, study_instance_uid=None) == ()


def test_a_study_whose_files_cannot_be_read_still_gets_its_page(
    tmp_path: Path, errors_of: Callable[[bytes], list[str]]
) -> None:
    made = make_study(tmp_path, slices=3)
    analysis, evidence = make_analysis(made, Outcome.FAILED)
    for path in tmp_path.glob("*.dcm"):
        path.write_bytes(b"no longer DICOM")
    (page,) = build(analysis, evidence, made.manifest, INSTALLATION).objects
    assert errors_of(page.data) == []
    assert read(page).StudyInstanceUID == made.manifest.study_instance_uid


def test_each_model_is_a_device_with_a_uid_of_its_weights(tmp_path: Path) -> None:
    ct, mr = make_pair(tmp_path, slices=9, shape=(64, 64))
    analysis, evidence = make_fused_analysis(ct, mr, Outcome.PRESENT)
    uids = set()
    for installation in (INSTALLATION, "2.25.42"):
        for result in build(analysis, evidence, ct.manifest, installation).objects:
            ours, *models = read(result).ContributingEquipmentSequence
            assert "DeviceUID" not in ours
            assert sorted(item.ManufacturerModelName for item in models) == [
                "efficientnet-lite0-ct", "efficientnet-lite0-mr", "fusion",
            ]  # fmt: skip
            uids.add(tuple(item.DeviceUID for item in models))
    (same,) = uids
    assert len(set(same)) == 3


def test_series_are_numbered_and_described_as_the_site_wants(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9, shape=(64, 64))
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    own = {"kind": "pm", "number": 77, "description": "KI-Karte"}
    labels = ResultsSettings.model_validate({"series": [own]}).labels
    assert labels[ResultKind.PARAMETRIC_MAP] == SeriesLabel(77, "KI-Karte")
    usual = build(analysis, evidence, made.manifest, INSTALLATION, kinds=EVERY_KIND).objects
    results = build(analysis, evidence, made.manifest, INSTALLATION, kinds=EVERY_KIND, labels=labels).objects
    for result, other in zip(results, usual, strict=True):
        dataset, expected = read(result), labels[ResultKind(result.kind)]
        assert (dataset.SeriesNumber, dataset.SeriesDescription) == (expected.number, expected.description)
        changed = result.kind is ResultKind.PARAMETRIC_MAP
        assert (result.sop_instance_uid != other.sop_instance_uid) == changed
        assert (result.data != other.data) == changed
    assert len({label.description for label in labels.values()}) == len(labels)
    assert len({label.number for label in labels.values()}) == len(labels)


@pytest.mark.parametrize("outcome", Outcome)
def test_what_was_asked_for_is_made_or_the_reason_is_told(outcome: Outcome, tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9, shape=(64, 64))
    analysis, evidence = make_analysis(made, outcome)
    results = build(analysis, evidence, made.manifest, INSTALLATION, kinds=set(ResultKind))
    omitted = {omission.kind for omission in results.omissions}
    assert {result.kind for result in results.objects} | omitted == set(ResultKind)
    assert all(omission.text for omission in results.omissions)
    entry = study_entry(from_document(to_document(replace(analysis, omissions=results.omissions))), [])
    assert entry["omissions"] == [{"kind": o.kind.value, "text": o.text} for o in results.omissions]


def test_an_overlay_has_the_place_of_its_source(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=9, orientation=TILTED, shape=(200, 150))
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    overlays = overlays_of(build(analysis, evidence, made.manifest, INSTALLATION).objects)
    for result in overlays:
        overlay = read(result)
        reference = overlay.SourceImageSequence[0]
        source = dcmread(tmp_path / f"{reference.ReferencedSOPInstanceUID}.dcm")
        assert reference.PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert min(overlay.Rows, overlay.Columns) >= 512
        factor = round(source.PixelSpacing[0] / overlay.PixelSpacing[0])
        layout = Layout(factor, source.Rows * factor, source.Columns * factor, source.Columns * factor / 25)
        assert (overlay.Rows, overlay.Columns) == (layout.height_px, layout.width_px)
        margin = np.array([layout.side_px, layout.above_px])
        assert overlay.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert overlay.BurnedInAnnotation == "NO"
        for shown, there in ((-0.5, -0.5), (factor * 10 - 0.5, 9.5)):  # pixel edges stay where they were
            np.testing.assert_allclose(
                place(overlay, margin + shown), place(source, np.array([there, there])), atol=1e-3
            )


def place(dataset: Dataset, pixel: NDArray[np.floating]) -> NDArray[np.floating]:
    """Patient position (mm) of ``pixel`` = (column, row) (PS3.3 C.7.6.2.1.1)."""
    axes = np.array(dataset.ImageOrientationPatient, float)
    spacing = np.array(dataset.PixelSpacing, float)
    origin = np.array(dataset.ImagePositionPatient, float)
    return np.asarray(origin + axes[:3] * spacing[1] * pixel[0] + axes[3:] * spacing[0] * pixel[1])


def test_an_overlay_of_a_multi_frame_source_names_the_frame(tmp_path: Path) -> None:
    overlays = overlays_of(built(tmp_path, STUDIES["mr_enhanced"], Outcome.PRESENT))
    frames = [read(result).SourceImageSequence[0].ReferencedFrameNumber for result in overlays]
    assert frames == sorted(set(frames))
    assert set(frames) <= set(range(1, 10))


def test_no_more_than_25_overlays_are_made_and_neighbours_go_first(tmp_path: Path) -> None:
    made = make_study(tmp_path, slices=150, shape=(48, 48))
    analysis, evidence = make_analysis(made, Outcome.PRESENT)
    assert len(analysis.findings) > MAX_OVERLAYS
    shown = overlay_slices(analysis, read_scene(analysis, evidence, made.manifest))
    assert len(shown) == MAX_OVERLAYS
    findings = {(finding.sop_instance_uid, finding.frame) for finding in analysis.findings}
    assert {image.key for image in shown} <= findings


def test_lossy_sources_are_declared(tmp_path: Path) -> None:
    header = {"LossyImageCompression": "01", "LossyImageCompressionRatio": "10"}
    dataset = read(built(tmp_path, {"header": header}, Outcome.PRESENT)[0])
    assert (dataset.LossyImageCompression, dataset.LossyImageCompressionRatio) == ("01", 10)


def test_images_that_an_analysis_has_read_are_not_read_again(
    mr: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    analysis, evidence = make_analysis(mr, Outcome.PRESENT)
    images = {
        series.series_instance_uid: read_images(series, max_headers=1000) for series in mr.manifest.series
    }
    read = build(analysis, evidence, mr.manifest, INSTALLATION)
    parsed: list[Path] = []

    def counted(path: Path) -> Any:
        parsed.append(path)
        return read_image_header(path)

    monkeypatch.setattr("worker.imaging.stacks.image.read_image_header", counted)
    monkeypatch.setattr("worker.results.sources.slices.read_header", counted)
    assert build(analysis, evidence, mr.manifest, INSTALLATION, images=images) == read
    assert parsed == []
