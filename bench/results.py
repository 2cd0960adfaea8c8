"""The cost of result objects: ``python -m bench.results [--json FILE]``.

Of a made study with a lesion, of 25 thick and of 300 thin slices: time and size of the report, time of all
usual objects, and its ratio to the time that the model needs for the same study on one CPU thread. Each time
is a median, and includes reading the source from a warm disk cache.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from neurotriage.core.settings import SummarySettings, load_settings
from neurotriage.core.values import USUAL_KINDS, Outcome, ResultKind, ResultObject
from neurotriage.phantom import INSTALLATION, Made, make_analysis, make_study
from worker.imaging import build_volume
from worker.results import build
from worker.summary import tell

STUDIES = ((25, 512), (300, 256))  # slices, and pixels per side
RUNS = 5
THREADS = 1  # for the model too, because results are built on one thread


@dataclass(frozen=True, slots=True)
class Cost:
    """Times in seconds and size in bytes of the results of one study."""

    slices: int
    sr_s: float
    sr_bytes: int
    all_s: float
    all_objects: int
    share_of_inference: float | None  # None without weights


def cost_of(slices: int, side_px: int, folder: Path) -> Cost:
    """Make a study of ``slices`` slices of ``side_px`` squared below ``folder`` and measure its results."""
    made = make_study(folder, slices=slices, shape=(side_px, side_px))
    analysis, evidence = make_analysis(made, Outcome.PRESENT)

    def objects(kinds: frozenset[ResultKind]) -> tuple[ResultObject, ...]:
        words = tell(analysis, SummarySettings()).summary
        return build(analysis, evidence, made.manifest, INSTALLATION, kinds=kinds, summary=words).objects

    usual, (report,) = objects(USUAL_KINDS), objects(frozenset({ResultKind.REPORT}))
    all_s = _median_s(lambda: objects(USUAL_KINDS))
    inference_s = _inference_s(made)
    return Cost(
        slices=slices,
        sr_s=round(_median_s(lambda: objects(frozenset({ResultKind.REPORT}))), 3),
        sr_bytes=len(report.data),
        all_s=round(all_s, 3),
        all_objects=len(usual),
        share_of_inference=None if inference_s is None else round(all_s / inference_s, 3),
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, and write ``{"studies": [...]}`` to a JSON file with ``--json``; returns 0."""
    parser = argparse.ArgumentParser(prog="python -m bench.results", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    costs = []
    for slices, side_px in STUDIES:
        with tempfile.TemporaryDirectory() as folder:
            costs.append(cost_of(slices, side_px, Path(folder)))
    _show(costs)
    if options.json:
        options.json.write_text(json.dumps({"studies": [asdict(cost) for cost in costs]}, indent=2))
    return 0


def _inference_s(made: Made) -> float | None:
    """Seconds that the model needs for the same images, which it may refuse; None without weights."""
    from worker.vision import analyse_volumes, load_models, read_registry

    registry = read_registry(load_settings().worker.weights)
    if made.modality not in registry.modalities:
        return None
    models = load_models(registry, threads=THREADS)
    volume = build_volume(made.manifest.series[0], registry.eligibility).volume
    analyse_volumes([volume], models)  # loads the weights
    return _median_s(lambda: analyse_volumes([volume], models))


def _median_s(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(RUNS):
        begun = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - begun)
    return median(seconds)


def _show(costs: Sequence[Cost]) -> None:
    print(f"{'slices':>7}{'report s':>10}{'report kB':>11}{'all s':>8}{'objects':>9}{'of inference':>14}")
    for cost in costs:
        share = "no weights" if cost.share_of_inference is None else f"{cost.share_of_inference:.0%}"
        print(
            f"{cost.slices:>7}{cost.sr_s:>10.2f}{cost.sr_bytes / 1024:>11.1f}{cost.all_s:>8.2f}"
            f"{cost.all_objects:>9}{share:>14}"
        )
    print(f"median of {RUNS}; targets: report <= 0.5 s and 100 kB, all <= 15 % of inference")


if __name__ == "__main__":
    sys.exit(main())
