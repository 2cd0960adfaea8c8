"""A folder becomes studies; nothing in it is lost without a word."""

from pathlib import Path

import pytest

from neurotriage.core.values import ReasonCode
from neurotriage.dicom.manifest import scan_folder
from tests.core.made import STUDY, instance, part10, write

pytestmark = pytest.mark.unit


def _fill(folder: Path, *files: tuple[str, dict[str, object]]) -> Path:
    for number, (name, attributes) in enumerate(files, 1):
        write(folder / name, part10(instance(**{"number": number, **attributes})))  # type: ignore[arg-type]
    return folder


def test_files_are_grouped_into_studies_and_series_whatever_their_names(tmp_path: Path) -> None:
    folder = _fill(
        tmp_path,
        ("z", {"number": 1}),
        ("a/b/c.txt", {"number": 2}),
        ("IM0001", {"number": 3, "SeriesInstanceUID": "2.25.22"}),
        ("other.dcm", {"number": 4, "StudyInstanceUID": "2.25.11"}),
    )
    scan = scan_folder(folder)
    found = {
        study.study_instance_uid: {
            series.series_instance_uid: [i.sop_instance_uid for i in series.instances]
            for series in study.series
        }
        for study in scan.studies
    }
    assert found == {
        STUDY: {"2.25.2": ["2.25.3.1", "2.25.3.2"], "2.25.22": ["2.25.3.3"]},
        "2.25.11": {"2.25.2": ["2.25.3.4"]},
    }
    assert scan.unreadable == ()
    assert len(scan.headers) == 4


def test_instances_are_in_the_order_of_their_numbers_those_without_last(tmp_path: Path) -> None:
    folder = _fill(
        tmp_path,
        ("a", {"number": 10}),
        ("b", {"number": 2}),
        ("c", {"number": 5, "InstanceNumber": None}),
    )
    (study,) = scan_folder(folder).studies
    assert [i.sop_instance_uid for i in study.series[0].instances] == ["2.25.3.2", "2.25.3.10", "2.25.3.5"]


def test_one_instance_twice_counts_once_and_other_bytes_under_its_uid_are_marked(tmp_path: Path) -> None:
    folder = _fill(
        tmp_path,
        ("a", {"number": 1}),
        ("b", {"number": 1}),
        ("c", {"number": 1, "PixelData": b"\1" * 8}),
    )
    (study,) = scan_folder(folder).studies
    listed = {instance.path.name: instance.same_uid for instance in study.series[0].instances}
    assert listed == {"a": False, "c": True}


def test_a_folder_s_names_do_not_change_the_study(tmp_path: Path) -> None:
    first = _fill(tmp_path / "1", ("a", {"number": 1}), ("b", {"number": 2}))
    second = _fill(tmp_path / "2", ("z", {"number": 1}), ("y/x", {"number": 2}))
    (one,), (two,) = scan_folder(first).studies, scan_folder(second).studies
    assert one.digest == two.digest
    third = _fill(tmp_path / "3", ("a", {"number": 1}))
    assert scan_folder(third).studies[0].digest != one.digest


def test_files_without_a_study_uid_are_one_study_without_a_name(tmp_path: Path) -> None:
    folder = _fill(
        tmp_path,
        ("a", {"StudyInstanceUID": None}),
        ("b", {"StudyInstanceUID": ""}),
        ("c", {}),
    )
    studies = scan_folder(folder).studies
    assert [study.study_instance_uid for study in studies] == [None, STUDY]
    assert [len(study.series[0].instances) for study in studies] == [2, 1]


def test_instances_without_a_uid_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    for name, value in (("a", 1), ("b", 2), ("c", 2)):
        dataset = instance(PixelData=bytes([value] * 8), SOPInstanceUID=None)
        data = part10(dataset).replace(b"2.25.9", b"      ")  # neither in the File Meta
        write(tmp_path / name, data)
    (study,) = scan_folder(tmp_path).studies
    assert [i.path.name for i in study.series[0].instances] in (["a", "b"], ["b", "a"])


def test_two_patients_under_one_study_uid_are_a_conflict(tmp_path: Path) -> None:
    folder = _fill(tmp_path, ("a", {}), ("b", {"PatientID": "P2"}), ("c", {"StudyInstanceUID": "2.25.11"}))
    conflicts = {study.study_instance_uid: study.conflict for study in scan_folder(folder).studies}
    assert conflicts["2.25.11"] is None
    conflict = conflicts[STUDY]
    assert conflict is not None
    assert conflict.code is ReasonCode.IDENTITY_CONFLICT
    assert "P1" not in conflict.text
    assert "P2" not in conflict.text


def test_another_spelling_of_the_name_is_no_conflict(tmp_path: Path) -> None:
    folder = _fill(tmp_path, ("a", {}), ("b", {"PatientName": "ONE^PATIENT^^DR"}))
    assert scan_folder(folder).studies[0].conflict is None


def test_an_object_without_a_patient_id_is_no_conflict(tmp_path: Path) -> None:
    folder = _fill(
        tmp_path,
        ("a", {}),
        ("b", {"PatientID": None, "PatientName": "One^Patient^^"}),
        ("c", {"PatientID": ""}),
    )
    assert scan_folder(folder).studies[0].conflict is None


def test_two_patients_without_a_study_uid_share_none(tmp_path: Path) -> None:
    folder = _fill(
        tmp_path, ("a", {"StudyInstanceUID": None}), ("b", {"StudyInstanceUID": None, "PatientID": "P2"})
    )
    conflict = scan_folder(folder).studies[0].conflict
    assert conflict is not None
    assert "share" not in conflict.text
    assert "have no StudyInstanceUID" in conflict.text


def test_what_cannot_be_read_is_listed_with_its_reason(tmp_path: Path) -> None:
    folder = _fill(tmp_path, ("good", {}))
    write(folder / "DICOMDIR.txt", b"no DICOM")
    write(folder / "empty", b"")
    (folder / "dangling").symlink_to(folder / "nowhere")
    (folder / "a folder.dcm").mkdir()
    scan = scan_folder(folder)
    assert len(scan.studies) == 1
    assert {path.name: reason.code for path, reason in scan.unreadable} == {
        "DICOMDIR.txt": ReasonCode.NOT_DICOM,
        "empty": ReasonCode.NOT_DICOM,
    }
    assert all(reason.text for _, reason in scan.unreadable)


def test_a_file_that_may_not_be_read_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = _fill(tmp_path, ("good", {}))
    real = Path.open

    def refuses(self: Path, *args: str, **more: object) -> object:
        if self.name == "good":
            raise PermissionError(13, "Permission denied")
        return real(self, *args, **more)  # type: ignore[call-overload]

    monkeypatch.setattr(Path, "open", refuses)
    scan = scan_folder(folder)
    assert scan.studies == ()
    assert [reason.text for _, reason in scan.unreadable] == ["the file cannot be read: Permission denied"]


def test_an_error_without_a_number_is_told_by_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(self: Path, *args: str, **more: object) -> object:
        raise OSError("the share went away")

    folder = _fill(tmp_path, ("good", {}))
    monkeypatch.setattr(Path, "open", refuses)
    assert [reason.text for _, reason in scan_folder(folder).unreadable] == [
        "the file cannot be read: the share went away"
    ]


def test_an_empty_folder_has_nothing(tmp_path: Path) -> None:
    scan = scan_folder(tmp_path)
    assert not scan.studies
    assert not scan.unreadable
    assert not scan.headers
