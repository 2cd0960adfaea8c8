"""Loads and runs everything once, so that a worker's first study takes no longer than its second.

A drawn head is analysed from files to result objects, which are discarded.
"""

import time
from collections.abc import Callable
from collections.abc import Set as AbstractSet
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from pydicom import dcmread
from pydicom.uid import JPEGLSLossless

from neurotriage.core.settings import ResultsSettings, SummarySettings
from neurotriage.core.values import Outcome, ResultKind
from neurotriage.phantom import INSTALLATION, make_analysis, make_study
from worker.analysis import analyse, select_series
from worker.results import build
from worker.summary import tell

if TYPE_CHECKING:
    from worker.vision import Models

# Networks get slices of one size, whatever the study; one batch is enough.
_SHAPE_PX: Final = (256, 256)
_SLICES: Final = 8


def warm_up(
    models: "Callable[[], Models]",
    modalities: AbstractSet[str],
    kinds: AbstractSet[ResultKind],
    results: ResultsSettings,
) -> float:
    """Analyse a drawn study of each modality and make every kind in ``kinds``; returns the seconds it took.

    Raises what an analysis raises, and ``OSError`` without a temporary folder.
    """
    begun = time.monotonic()
    now = datetime.now(UTC).astimezone()
    loaded = models()
    for modality in sorted(modalities):
        # Also where the drawn head is refused before its network would be asked.
        loaded.of(modality)
    if loaded.fusion is not None:
        loaded.fusion_network(loaded.fusion)
    with TemporaryDirectory(prefix="neurotriage-warm-") as folder:
        for modality in sorted(modalities):
            made = make_study(Path(folder) / modality, modality, shape=_SHAPE_PX, slices=_SLICES)
            _compress(made.manifest.series[0].instances[0].path)
            selection = select_series(made.manifest, loaded.eligibility)
            analyse(selection, frozenset(modalities), lambda: loaded, now)
            analysis, evidence = make_analysis(made, Outcome.PRESENT, analysed_at=now)
            build(
                analysis,
                evidence,
                made.manifest,
                INSTALLATION,
                claims=results.claims,
                kinds=kinds,
                labels=results.labels,
                overlay=results.overlay,
                summary=tell(analysis, SummarySettings(), results.claims).summary,
            )
    return time.monotonic() - begun


def _compress(path: Path) -> None:
    """Compress one image, which starts the decoding process."""
    dataset = dcmread(path)
    dataset.compress(JPEGLSLossless, generate_instance_uid=False)
    dataset.save_as(path)
