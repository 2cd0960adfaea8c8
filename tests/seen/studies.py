"""The studies that are looked at: sources on disk, and what the product makes of them."""

from collections.abc import Callable, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import SummarySettings, WorkerSettings
from neurotriage.core.summary import Language
from neurotriage.core.values import (
    USUAL_KINDS,
    Analysis,
    Finding,
    Outcome,
    ResultKind,
    ResultObject,
    Side,
    StudyManifest,
)
from neurotriage.demo.studies import SampleStudy, head_ct, head_mr
from neurotriage.dicom.manifest import scan_folder
from neurotriage.phantom import INSTALLATION, Made, make_analysis, make_study
from tests.demo.made import head_pair, healthy_head_mr
from tests.eligibility.rule import RULE
from worker.analysis import analyse, select_series
from worker.results import build
from worker.summary import tell

EXTRAS = frozenset(
    {
        ResultKind.OVERLAY_FRAMES,
        ResultKind.KEY_OBJECTS,
        ResultKind.SEGMENTATION,
        ResultKind.PARAMETRIC_MAP,
        ResultKind.PRESENTATION_STATE,
        ResultKind.DOCUMENT,
    }
)


@dataclass(frozen=True, slots=True)
class ViewerCase:
    """A study with its results."""

    study_uid: str
    sources: tuple[Path, ...]
    results: tuple[ResultObject, ...]
    outcome: Outcome
    findings: tuple[Finding, ...]

    def of(self, kind: ResultKind) -> tuple[ResultObject, ...]:
        return tuple(result for result in self.results if result.kind is kind)


def positive_mr(folder: Path) -> ViewerCase:
    """The product's own answer to the sample MR with a tumour."""
    manifest = _written(folder, head_mr())
    case = _case(manifest, *_product(manifest))
    assert case.outcome is Outcome.PRESENT
    return case


def positive_ct(folder: Path) -> ViewerCase:
    """The product's own answer to the sample CT."""
    manifest = _written(folder, head_ct())
    case = _case(manifest, *_product(manifest))
    assert case.outcome is Outcome.PRESENT
    return case


def fusion(folder: Path) -> ViewerCase:
    """A CT and an MR of one patient in one frame of reference, judged together."""
    sample = head_pair()
    manifest = _written(folder, sample)
    by_ct, seen_by_ct = _frozen(manifest, sample, "CT", Outcome.PRESENT)
    by_mr, seen_by_mr = _frozen(manifest, sample, "MR", Outcome.PRESENT)
    parts = (*by_ct.predictions, *by_mr.predictions)
    joint = replace(
        parts[1], model="fusion", modality="CT+MR", probabilities={"tumour": 0.981}, series_instance_uid=None
    )
    analysis = replace(
        by_mr,
        predictions=(joint, *parts),
        findings=(*by_mr.findings, *by_ct.findings),
        series=(*by_mr.series, *by_ct.series),
    )
    return _case(manifest, analysis, Evidence((*seen_by_mr.slices, *seen_by_ct.slices), seen_by_mr.key))


def extras(folder: Path) -> ViewerCase:
    """A drawn study with the objects that are off by default."""
    made = make_study(folder)
    return _case(made.manifest, *make_analysis(made, Outcome.PRESENT), kinds=EXTRAS)


def negative_mr(folder: Path) -> ViewerCase:
    """A healthy head."""
    sample = healthy_head_mr()
    manifest = _written(folder, sample)
    return _case(manifest, *_frozen(manifest, sample, "MR", Outcome.ABSENT))


def knee_mr(folder: Path) -> ViewerCase:
    """The product's own answer to a series that its header calls a knee."""
    sample = healthy_head_mr()
    first = sample.datasets[0].SeriesInstanceUID
    knee = tuple(dataset for dataset in sample.datasets if dataset.SeriesInstanceUID == first)
    for dataset in knee:
        dataset.BodyPartExamined, dataset.StudyDescription = "KNEE", "MR knee"
        dataset.SeriesDescription = dataset.ProtocolName = "SAG PD KNEE"
    manifest = _written(folder, replace(sample, datasets=knee))
    case = _case(manifest, *_product(manifest))
    assert case.outcome is Outcome.NOT_ELIGIBLE
    return case


CASES: Mapping[str, Callable[[Path], ViewerCase]] = {
    "positive MR": positive_mr,
    "positive CT": positive_ct,
    "fusion": fusion,
    "negative MR": negative_mr,
    "knee": knee_mr,
    "extras": extras,
}


def _written(folder: Path, sample: SampleStudy) -> StudyManifest:
    sample.write(folder)
    (manifest,) = scan_folder(folder).studies
    return manifest


def _product(manifest: StudyManifest) -> tuple[Analysis, Evidence]:
    from worker.vision import load_models, read_registry  # torch takes seconds to import

    weights = WorkerSettings().weights
    registry = read_registry(weights)
    return analyse(
        select_series(manifest, registry.eligibility),
        registry.modalities,
        lambda: load_models(registry, threads=1),
        datetime.now(UTC),
    )


def _frozen(
    manifest: StudyManifest, sample: SampleStudy, modality: str, outcome: Outcome
) -> tuple[Analysis, Evidence]:
    """An answer about the first series of a modality, as a model would give it that sees what was put in."""
    made = _made(manifest, sample, modality)
    analysis, evidence = make_analysis(made, outcome)
    to_the_left = sample.lesion_centre_mm is not None and sample.lesion_centre_mm[0] > 0
    side = Side.LEFT if to_the_left else Side.RIGHT
    analysis = replace(
        analysis,
        analysed_at=datetime.now(UTC),
        verdicts=select_series(manifest, RULE).verdicts,
        findings=tuple(replace(finding, side=side) for finding in analysis.findings),
        predictions=tuple(
            replace(each, model=f"{modality.lower()}-frozen", series_instance_uid=made.series_instance_uid)
            for each in analysis.predictions
        ),
    )
    return analysis, evidence


def _made(manifest: StudyManifest, sample: SampleStudy, modality: str) -> Made:
    uid = next(str(d.SeriesInstanceUID) for d in sample.datasets if d.Modality == modality)
    series = [dataset for dataset in sample.datasets if uid == dataset.SeriesInstanceUID]
    series.sort(key=lambda dataset: float(dataset.SliceLocation))
    shape = (series[0].Rows, series[0].Columns)
    spacing = tuple(map(float, series[0].PixelSpacing))
    return Made(
        manifest=manifest,
        masks=tuple(_ellipse(sample.lesion_box_by_sop.get(d.SOPInstanceUID), shape) for d in series),
        keys=tuple((str(dataset.SOPInstanceUID), None) for dataset in series),
        series_instance_uid=uid,
        spacing_mm=(spacing[0], spacing[1]),
        modality=series[0].Modality,
    )


def _ellipse(box: tuple[int, int, int, int] | None, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The ellipse inside a box, as a mask of the image."""
    if box is None:
        return np.zeros(shape, bool)
    x0, y0, x1, y1 = box
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    along_x = (2 * columns - x0 - x1) / (x1 - x0)
    along_y = (2 * rows - y0 - y1) / (y1 - y0)
    return np.asarray(along_x**2 + along_y**2 <= 1)


def _case(
    manifest: StudyManifest,
    analysis: Analysis,
    evidence: Evidence,
    kinds: AbstractSet[ResultKind] = USUAL_KINDS,
) -> ViewerCase:
    assert manifest.study_instance_uid is not None
    words = tell(analysis, SummarySettings(language=Language.GERMAN, plain_language=True)).summary
    results = build(analysis, evidence, manifest, INSTALLATION, kinds=kinds, summary=words).objects
    return ViewerCase(
        study_uid=manifest.study_instance_uid,
        sources=tuple(instance.path for series in manifest.series for instance in series.instances),
        results=results,
        outcome=analysis.outcome,
        findings=analysis.findings,
    )
