"""Measurements on this host and the engine chosen by them, a JSON file per model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from neurotriage.core.storage import atomic_write, make_private

MAX_DP = 0.01  # single or half precision: largest difference of a probability from the reference
MAX_DP_INT8 = 0.03
MAX_AUC_LOSS = 0.005  # int8 only: area under the ROC curve on val slices, against the reference


@dataclass(frozen=True, slots=True)
class Measurement:
    """One engine on one host, compared with eager torch in single precision."""

    engine: str
    slices_per_s: float
    max_abs_dp: float  # largest difference of a calibrated tumour probability
    auc_loss: float | None = None  # on val slices; None where it was not measured
    problem: str = ""  # the reason for which it was not measured


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine of one model on one host, with the measurements."""

    model: str
    sha256: str  # of the weights
    host: str
    engine: str
    measured: tuple[Measurement, ...]


def allowed(measurement: Measurement) -> bool:
    """Whether an engine is exact: within ``MAX_DP``, or for int8 ``MAX_DP_INT8`` and ``MAX_AUC_LOSS``."""
    if measurement.problem:
        return False
    if measurement.engine.endswith("int8"):
        loss = measurement.auc_loss
        return loss is not None and loss <= MAX_AUC_LOSS and measurement.max_abs_dp <= MAX_DP_INT8
    return measurement.max_abs_dp <= MAX_DP


def fastest(measured: Sequence[Measurement]) -> str:
    """The name of the fastest engine that is ``allowed``. Raises ``ValueError`` where none is."""
    return max(filter(allowed, measured), key=lambda measurement: measurement.slices_per_s).engine


def host(threads: int) -> str:
    """The conditions of a measurement: processor, instruction sets, software, and threads (0: all)."""
    lines = _cpu_lines()
    name = lines.get("model name", "unknown")
    flags = sha256(lines.get("flags", "").encode()).hexdigest()[:8]
    software = ", ".join(f"{package} {version(package)}" for package in ("torch", "openvino"))
    return f"{name} {flags}, {software}, {threads or 'all'} threads"


def read_choice(folder: Path, weights_sha256: str, threads: int) -> Choice | None:
    """The choice for these weights on this host; None where there is none, or where it cannot be read.

    ``weights_sha256``: hexadecimal SHA-256 of the weights file.
    """
    try:
        row = json.loads(choice_file(folder, weights_sha256, threads).read_text(encoding="utf-8"))
        measured = tuple(Measurement(**measurement) for measurement in row.pop("measured"))
        return Choice(**row, measured=measured)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def write_choice(folder: Path, choice: Choice, threads: int) -> Path:
    """Write a choice to a JSON file, atomically, and return its path. Raises ``OSError``."""
    path = choice_file(folder, choice.sha256, threads)
    make_private(path.parent)
    # Not private: an admin may measure, and the worker's own user must be able to read it.
    with atomic_write(path, durable=False, private=False) as temporary:
        temporary.write_text(json.dumps(asdict(choice), indent=1) + "\n", encoding="utf-8")
    return path


def choice_file(folder: Path, weights_sha256: str, threads: int) -> Path:
    """The JSON file of a choice, named by the first digits of the SHA-256 of weights and host."""
    return folder / f"{weights_sha256[:16]}-{sha256(host(threads).encode()).hexdigest()[:8]}.json"


def _cpu_lines() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
