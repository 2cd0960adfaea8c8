"""From instance headers to frozen studies: those of a folder. ``db.studies`` reads received ones."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from neurotriage.core.errors import Refused
from neurotriage.core.values import ManifestInstance, Reason, ReasonCode, SeriesManifest, StudyManifest
from neurotriage.dicom.headers import InstanceHeader, first_line, read_instance
from neurotriage.dicom.patients import identity_conflict


@dataclass(frozen=True, slots=True)
class FolderScan:
    """What a folder holds."""

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

    One SOP Instance UID counts once: the first one seen. Series and instances are sorted, so that the
    same instances give the same manifest in whatever order they came.
    """
    first: dict[str, InstanceHeader] = {}
    for header in headers:
        first.setdefault(header.sop_instance_uid or header.digest, header)
    ordered = sorted(first.values(), key=_order)
    series = tuple(
        _series(uid, list(group)) for uid, group in groupby(ordered, key=lambda h: h.series_instance_uid)
    )
    return StudyManifest(
        study_instance_uid=headers[0].study_instance_uid or None,
        revision=revision,
        series=series,
        completed_by=completed_by,
        conflict=identity_conflict(
            (header.patient_key for header in headers if not header.looks_like_a_result),
            headers[0].study_instance_uid,
        ),
    )


def _order(header: InstanceHeader) -> tuple[str, int, str]:
    number = header.instance_number if header.instance_number is not None else 1 << 31
    return header.series_instance_uid, number, header.sop_instance_uid


def _series(uid: str, headers: list[InstanceHeader]) -> SeriesManifest:
    instances = tuple(
        ManifestInstance(h.sop_instance_uid, h.sop_class_uid, h.path, h.digest) for h in headers
    )
    return SeriesManifest(uid, headers[0].modality, instances)
