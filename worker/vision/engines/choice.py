"""What was measured on this host, and the engine that follows from it; kept as one JSON file per model."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path

from neurotriage.core.storage import atomic_write, make_private

MAX_DP = 0.01  # single or half precision: a probability may differ from the reference by so much
MAX_DP_INT8 = 0.03
MAX_AUC_LOSS = 0.005  # int8 only: area under the ROC curve on val slices, against the reference


@dataclass(frozen=True, slots=True)
class Measurement:
    """One engine on one host, against eager torch in single precision."""

    engine: str
    slices_per_s: float
    max_abs_dp: float  # largest difference of a calibrated tumour probability
    auc_loss: float | None = None  # on val slices; None where it was not measured
    problem: str = ""  # why it was not measured


@dataclass(frozen=True, slots=True)
class Choice:
    """The engine of one model on one host, and why."""

    model: str
    sha256: str  # of the weights
    host: str
    engine: str
    measured: tuple[Measurement, ...]


def allowed(found: Measurement) -> bool:
    """Whether an engine answers as the reference does. Int8 must have been held against labels."""
    if found.problem:
        return False
    if found.engine.endswith("int8"):
        return (
            found.auc_loss is not None and found.auc_loss <= MAX_AUC_LOSS and found.max_abs_dp <= MAX_DP_INT8
        )
    return found.max_abs_dp <= MAX_DP


def fastest(measured: Sequence[Measurement]) -> str:
    """The fastest engine that is allowed."""
    return max(filter(allowed, measured), key=lambda found: found.slices_per_s).engine


def host(threads: int) -> str:
    """What a measurement holds for: the processor, what it can do, the threads that torch was given."""
    lines = _cpu_lines()
    name = lines.get("model name", "unknown")
    flags = sha256(lines.get("flags", "").encode()).hexdigest()[:8]
    return f"{name} {flags}, {threads or 'all'} threads"


def read_choice(folder: Path, weights_sha256: str, threads: int) -> Choice | None:
    """What was measured for these weights on this host; None where nothing was, or it cannot be read."""
    try:
        row = json.loads(choice_file(folder, weights_sha256, threads).read_text(encoding="utf-8"))
        measured = tuple(Measurement(**found) for found in row.pop("measured"))
        return Choice(**row, measured=measured)
    except (OSError, KeyError, TypeError, ValueError):
        return None


def write_choice(folder: Path, choice: Choice, threads: int) -> Path:
    """Keep a choice; returns its file."""
    path = choice_file(folder, choice.sha256, threads)
    make_private(path.parent)
    # Not private: an admin may measure, and the worker's own user must be able to read it.
    with atomic_write(path, durable=False, private=False) as temporary:
        temporary.write_text(json.dumps(asdict(choice), indent=1) + "\n", encoding="utf-8")
    return path


def choice_file(folder: Path, weights_sha256: str, threads: int) -> Path:
    """Weights and host are in the name, so that others do not find it."""
    return folder / f"{weights_sha256[:16]}-{sha256(host(threads).encode()).hexdigest()[:8]}.json"


def _cpu_lines() -> dict[str, str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return {}
    pairs = (line.partition(":") for line in text.split("\n\n")[0].splitlines())
    return {key.strip(): value.strip() for key, _, value in pairs}
