"""A worker's memory has a bound: long stacks of large slices stay below it, from the files to the answer."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from neurotriage.core.settings import WorkerSettings
from neurotriage.demo.studies import head_ct

BOUND_MB = 2500

# In a process of its own, as a worker is one: the largest that it ever was, as the system counted.
ANALYSE = """
import json, resource, sys
from datetime import UTC, datetime
from pathlib import Path
from neurotriage.core.manifest import scan_folder
from worker.analysis import analyse, select_series
from worker.memory import limit_memory
from worker.vision import load_models, modalities
from worker.vision import predict

predict.MOST_SLICES = predict.BATCH_SLICES  # memory does not depend on how many batches there are; time does
weights = Path(sys.argv[2])
models = load_models(weights, light=True)
limit_memory(int(sys.argv[3]))
(study,) = scan_folder(Path(sys.argv[1])).studies
found, _ = analyse(select_series(study), modalities(weights), lambda: models, datetime.now(UTC))
peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(json.dumps({"outcome": found.outcome, "peak_mb": peak_kb // 1024, "told": found.degradations}))
"""


@pytest.mark.timeout(600)
@pytest.mark.parametrize("slices", [1000, 3000])
def test_long_stacks_of_large_slices_are_analysed_within_the_bound(tmp_path: Path, slices: int) -> None:
    if shutil.disk_usage(tmp_path).free < 4 << 30:
        pytest.skip("needs 4 GB of free disk for 3,000 slices of 512 x 512")
    folder = tmp_path / "ct"
    make_long_study(folder, slices)
    limits = WorkerSettings()
    ran = subprocess.run(
        [sys.executable, "-c", ANALYSE, str(folder), str(limits.weights), str(limits.memory_mb)],
        capture_output=True,
        check=False,
        timeout=580,
    )
    shutil.rmtree(folder)
    assert ran.returncode == 0, ran.stderr.decode()
    end = json.loads(ran.stdout)
    assert end["peak_mb"] <= BOUND_MB
    assert end["outcome"] in ("present", "absent", "undetermined")
    assert any("slices of series" in text for text in end["told"])


def make_long_study(folder: Path, slices: int) -> None:
    """The sample head of 512 x 512, each of its slices many times at places 0.25 mm apart."""
    drawn = sorted(head_ct().datasets, key=lambda dataset: float(dataset.ImagePositionPatient[2]))
    folder.mkdir()
    for number in range(slices):
        dataset = drawn[number * len(drawn) // slices]
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"2.25.9{number}"
        dataset.InstanceNumber = number + 1
        dataset.ImagePositionPatient[2] = round(0.25 * number, 2)
        dataset.SliceThickness = 0.25
        dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
