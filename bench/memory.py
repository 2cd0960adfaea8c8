"""How much memory a worker needs for a long stack of large slices, from the files to the answer."""

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import UID

from neurotriage.core.settings import WorkerSettings
from neurotriage.demo.studies import head_ct

BOUND_MB: Final = 2500
PATIENCE_S: Final = 580.0
SLICE_BYTES: Final = 540_000

# In a process of its own, as a worker is one: the largest that it ever was, as the system counted.
_ANALYSE: Final = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from neurotriage.dicom.manifest import scan_folder
from worker.analysis import analyse, select_series
from worker.memory import limit_memory
from worker.vision import load_models, modalities
from worker.vision.series import predict

predict.MOST_SLICES = predict.BATCH_SLICES  # memory does not depend on how many batches there are; time does
weights = Path(sys.argv[2])
models = load_models(weights, light=True)
limit_memory(int(sys.argv[3]))
(study,) = scan_folder(Path(sys.argv[1])).studies
found, _ = analyse(select_series(study), modalities(weights), lambda: models, datetime.now(UTC))
peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"outcome": found.outcome, "peak_mb": peak_kb // 1024, "degradations": found.degradations}))
"""


@dataclass(frozen=True, slots=True)
class LongStudy:
    """How a study of many slices ended, and the most memory that its process had."""

    outcome: str
    peak_mb: int
    degradations: tuple[str, ...]


def analyse_long_study(folder: Path, slices: int) -> LongStudy:
    """Draw a study of so many slices of 512 x 512 in ``folder``, analyse it, and delete it again.

    Raises ``RuntimeError`` with the text of the error where the analysis fails.
    """
    _draw(folder, slices)
    limits = WorkerSettings()
    command = [sys.executable, "-c", _ANALYSE, str(folder), str(limits.weights), str(limits.memory_mb)]
    try:
        ran = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE_S)
    finally:
        shutil.rmtree(folder)
    if ran.returncode:
        raise RuntimeError(ran.stderr.decode())
    end = json.loads(ran.stdout)
    return LongStudy(end["outcome"], end["peak_mb"], tuple(end["degradations"]))


def room_for(folder: Path, slices: int) -> bool:
    """Whether the study fits on the disk of ``folder``."""
    return shutil.disk_usage(folder).free > 2 * slices * SLICE_BYTES


def _draw(folder: Path, slices: int) -> None:
    """The sample head of 512 x 512, each of its slices many times at places 0.25 mm apart."""
    drawn = sorted(head_ct().datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    folder.mkdir()
    for number in range(slices):
        dataset = drawn[number * len(drawn) // slices]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.9{number}")
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient[2] = round(0.25 * number, 2)
        dataset.SliceThickness = 0.25
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
