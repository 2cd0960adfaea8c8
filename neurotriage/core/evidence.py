"""Heat maps and masks of the slices that matter, beside an ``Analysis``."""

import io
import json
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True, eq=False)
class SliceEvidence:
    """Model relevance and lesion mask of one slice, on the grid of the stored image."""

    series_instance_uid: str
    sop_instance_uid: str
    frame: int | None  # 1-based; None if single-frame
    slice_index: int  # 0-based along the sorted volume
    probability: float  # of the slice alone
    # (rows, columns), 0..1: Grad-CAM as share of the slice's hottest point, times the probability of the
    # slice with its neighbours; all 0 where the study rule calls that unsuspicious. Model relevance, not
    # tumour extent.
    heat: NDArray[np.float16]
    mask: NDArray[np.bool_]  # (rows, columns): the decoder's lesion mask

    @property
    def marked(self) -> bool:
        """Whether there is anything to show. The slice that decided is kept even if there is not."""
        return bool(self.mask.any() or self.heat.any())


@dataclass(frozen=True, slots=True, eq=False)
class Evidence:
    """The slices kept, in order of series and slice; ``key`` is the one that decided."""

    slices: tuple[SliceEvidence, ...] = ()
    key: int | None = None  # index into slices

    def to_bytes(self) -> bytes:
        """The evidence as one compressed NumPy file (``.npz``), without pickle."""
        index = [
            [s.series_instance_uid, s.sop_instance_uid, s.frame, s.slice_index, s.probability]
            for s in self.slices
        ]
        arrays: dict[str, NDArray[np.generic]] = {}
        for number, item in enumerate(self.slices):
            arrays[f"heat{number}"] = item.heat
            arrays[f"mask{number}"] = item.mask
        header = np.frombuffer(json.dumps({"key": self.key, "slices": index}).encode(), dtype=np.uint8)
        buffer = io.BytesIO()
        np.savez_compressed(buffer, header=header, **arrays)  # type: ignore[arg-type]
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "Evidence":
        """Read the output of ``to_bytes``."""
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            header = json.loads(arrays["header"].tobytes())
            slices = tuple(
                SliceEvidence(
                    series_instance_uid=row[0],
                    sop_instance_uid=row[1],
                    frame=row[2],
                    slice_index=row[3],
                    probability=row[4],
                    heat=arrays[f"heat{number}"],
                    mask=arrays[f"mask{number}"],
                )
                for number, row in enumerate(header["slices"])
            )
        return cls(slices, header["key"])
