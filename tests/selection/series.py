"""Series of drawn slices, as selection reads them."""

from collections import Counter
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset

from neurotriage.core.values import ReasonCode
from tests.eligibility.rule import RULE
from tests.imaging.made import ct_slice_of, picture, series_in
from worker.imaging import read_images
from worker.selection import ReadSeries
from worker.selection.series import judge

Changes = dict[str, Any]


def read_series(folder: Path, datasets: Sequence[Dataset]) -> ReadSeries:
    for number, dataset in enumerate(datasets):
        dataset.SOPInstanceUID = f"2.25.7{number:04d}"
    series = series_in(folder, list(datasets))
    return judge(series.series_instance_uid, read_images(series), RULE)


def stack_of(make: Any = ct_slice_of, count: int = 12, first: int = 1, **changes: Any) -> list[Dataset]:
    return [make(picture(seed=n), n, **changes) for n in range(first, first + count)]


def again(datasets: Sequence[Dataset], **changes: Any) -> list[Dataset]:
    """The same places with other pixels."""
    twins = []
    for number, dataset in enumerate(datasets):
        twin = deepcopy(dataset)
        twin.PixelData = picture(seed=1000 + number).tobytes()
        for name, value in changes.items():
            setattr(twin, name, value)
        twins.append(twin)
    return twins


def left_out(read: ReadSeries) -> Counter[ReasonCode]:
    return Counter(item.reason.code for item in read.plan.left_out)


def typed(*words: str) -> Changes:
    return {"ImageType": list(words)}
