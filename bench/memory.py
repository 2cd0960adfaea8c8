"""The memory that a worker needs to analyse a long stack of large slices, from files to result."""

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

# Runs in a separate process, as a worker does; its peak resident memory is that of the system.
_ANALYSE: Final = """
import json, sys
from datetime import UTC, datetime
from pathlib import Path
from neurotriage.dicom.manifest import scan_folder
from worker.analysis import analyse, select_series
from worker.memory import limit_memory
from worker.vision import load_models, read_registry
from worker.vision.series import predict

predict.MAX_SLICES = predict.BATCH_SLICES  # memory does not depend on the number of batches; time does
registry = read_registry(Path(sys.argv[2]))
models = load_models(registry, light=True)
limit_memory(int(sys.argv[3]))
(study,) = scan_folder(Path(sys.argv[1])).studies
selection = select_series(study, registry.eligibility)
analysis, _ = analyse(selection, registry.modalities, lambda: models, datetime.now(UTC))
# ru_maxrss of getrusage would include what the process that started this one holds.
status = Path("/proc/self/status").read_text(encoding="ascii")
peak_kb = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM:")))
end = {"outcome": analysis.outcome, "peak_mb": peak_kb // 1024, "degradations": analysis.degradations}
print(json.dumps(end))
"""


@dataclass(frozen=True, slots=True)
class LongStudy:
    """The outcome of a study of many slices, and the peak memory of its process in MB."""

    outcome: str
    peak_mb: int
    degradations: tuple[str, ...]


def analyse_long_study(folder: Path, slices: int) -> LongStudy:
    """Draw a study of ``slices`` slices of 512 x 512 pixels in ``folder``, analyse it, and delete it again.

    Raises ``RuntimeError`` with the error's text where the analysis fails, ``TimeoutExpired`` after
    ``PATIENCE_S``.
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
    """Whether the disk of ``folder`` has twice the bytes that a study of ``slices`` slices needs."""
    return shutil.disk_usage(folder).free > 2 * slices * SLICE_BYTES


def _draw(folder: Path, slices: int) -> None:
    """The sample head of 512 x 512 pixels, each of its slices repeated at positions 0.25 mm apart."""
    drawn = sorted(head_ct().datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    folder.mkdir()
    for number in range(slices):
        dataset = drawn[number * len(drawn) // slices]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"2.25.9{number}")
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient[2] = round(0.25 * number, 2)
        dataset.SliceThickness = 0.25
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
