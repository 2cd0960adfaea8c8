"""From instances to frozen studies: those of a folder by their headers, received ones by their rows."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from neurotriage.core.errors import Refused
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, SeriesManifest, StudyManifest
from neurotriage.dicom.headers import InstanceHeader, first_line, read_instance
from neurotriage.dicom.patients import identity_conflict


class ListedInstance(NamedTuple):
    """An instance with the attributes that place it within its study."""

    series_instance_uid: str
    modality: str
    instance_number: int | None
    instance: ManifestInstance


def series_of(listed: Iterable[ListedInstance]) -> tuple[SeriesManifest, ...]:
    """The series of one study, the same in whatever order its instances are given.

    Series are sorted by UID; instances by InstanceNumber, those without one last, then by SOP Instance UID
    and digest. A series has the modality of its first instance.
    """
    series: list[SeriesManifest] = []
    for uid, group in groupby(sorted(listed, key=_place), key=lambda member: member.series_instance_uid):
        members = list(group)
        instances = tuple(member.instance for member in members)
        series.append(SeriesManifest(uid, members[0].modality, instances))
    return tuple(series)


def _place(listed: ListedInstance) -> tuple[str, bool, int, str, str]:
    number, instance = listed.instance_number, listed.instance
    by_number = number is None, number or 0
    return listed.series_instance_uid, *by_number, instance.sop_instance_uid, instance.digest


@dataclass(frozen=True, slots=True)
class FolderScan:
    """The studies of a folder, the files that are no DICOM with the reason, and the headers of the rest."""

    studies: tuple[StudyManifest, ...]
    unreadable: tuple[tuple[Path, Reason], ...]
    headers: tuple[InstanceHeader, ...]


def scan_folder(folder: Path) -> FolderScan:
    """Group all DICOM files below a folder into studies, sorted by UID. Never raises for a bad file.

    Files without a StudyInstanceUID form one study whose UID is None.
    """
    headers: list[InstanceHeader] = []
    unreadable: list[tuple[Path, Reason]] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            headers.append(read_instance(path))
        except Refused as refused:
            unreadable.append((path, refused.reason))
        except OSError as error:
            unreadable.append(
                (path, Reason(ReasonCode.NOT_DICOM, f"cannot be read: {error.strerror or first_line(error)}"))
            )
    headers.sort(key=lambda header: (header.study_instance_uid, header.series_instance_uid))
    studies = tuple(
        manifest_of(list(group), revision=1, completed_by="folder")
        for _, group in groupby(headers, key=lambda header: header.study_instance_uid)
    )
    return FolderScan(studies, tuple(unreadable), tuple(headers))


def manifest_of(headers: list[InstanceHeader], *, revision: int, completed_by: str) -> StudyManifest:
    """Freeze the instances of one study.

    A SOP Instance UID counts once, with the first of its headers; what has it too, with other bytes, is
    marked ``same_uid``. Order as ``series_of`` gives it.
    """
    first: dict[str, InstanceHeader] = {}
    others: dict[tuple[str, str], InstanceHeader] = {}
    for header in headers:
        known = first.setdefault(header.sop_instance_uid or header.digest, header)
        if known.digest != header.digest:
            others.setdefault((header.sop_instance_uid, header.digest), header)
    listed = [*map(_listed, first.values()), *(_listed(other, same_uid=True) for other in others.values())]
    return StudyManifest(
        study_instance_uid=headers[0].study_instance_uid or None,
        revision=revision,
        series=series_of(listed),
        completed_by=completed_by,
        conflict=identity_conflict(
            (header.patient_key for header in headers if not header.looks_like_a_result),
            headers[0].study_instance_uid,
        ),
    )


def _listed(header: InstanceHeader, *, same_uid: bool = False) -> ListedInstance:
    return ListedInstance(
        header.series_instance_uid,
        header.modality,
        header.instance_number,
        ManifestInstance(header.sop_instance_uid, header.sop_class_uid, header.path, header.digest, same_uid),
    )
