"""The studies that the demo sends: the sample studies or those of a folder."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from neurotriage.demo.send import SendingFailed, send
from neurotriage.demo.studies import SampleStudy, head_ct, head_mr
from neurotriage.dicom.manifest import scan_folder
from neurotriage.embedded.process import LOOPBACK


class DemoFailed(Exception):
    """The demo could not be completed; the message says why, or where the logs are."""


@dataclass(frozen=True, slots=True)
class Submission:
    """A study to send; ``sample`` holds the truth about a sample study."""

    name: str
    study_instance_uid: str
    paths: tuple[Path, ...]
    sample: SampleStudy | None = None


def sample_studies(folder: Path, console: Console) -> list[Submission]:
    """Make the sample studies, and write them below ``folder`` for viewing and sending by hand."""
    makers: tuple[Callable[[], SampleStudy], ...] = (head_mr, head_ct)
    studies = []
    with console.status("making the sample studies"):
        for maker in makers:
            sample = maker()
            paths = sample.write(folder / sample.modality)
            studies.append(Submission(sample.name, sample.study_instance_uid, tuple(paths), sample))
    console.print(f"made {len(studies)} sample studies: {', '.join(study.name for study in studies)}")
    return studies


def folder_studies(folder: Path) -> list[Submission]:
    """The DICOM studies below ``folder``. Raises ``DemoFailed`` if there is none."""
    scan = scan_folder(folder)
    studies = []
    for manifest in scan.studies:
        if manifest.study_instance_uid is None:
            continue
        paths = tuple(
            header.path for header in scan.headers if header.study_instance_uid == manifest.study_instance_uid
        )
        studies.append(Submission(f"study of {len(paths)} files", manifest.study_instance_uid, paths))
    if not studies:
        raise DemoFailed(f"no DICOM study in {folder}")
    return studies


def send_all(studies: Sequence[Submission], port: int, console: Console) -> list[Submission]:
    """Send the studies to the listener on ``port``; returns those of which at least one instance was stored.

    Prints a line per study. Raises ``DemoFailed`` if nothing was stored at all.
    """
    taken = []
    for study in studies:
        with console.status(f"sending {study.name}"):
            try:
                report = send(study.paths, LOOPBACK, port, called="NEUROTRIAGE", calling="MODALITY")
            except SendingFailed as error:
                console.print(f"not sent: {study.name}: {error}", markup=False)
                continue
        console.print(f"sent {study.name}: {report}", markup=False)
        if report.stored:
            taken.append(study)
    if not taken:
        raise DemoFailed("the listener took none of the studies")
    return taken
