"""From an analysis to its result objects, without inference."""

from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType

from neurotriage.core.evidence import Evidence
from neurotriage.core.summary import Summary
from neurotriage.core.values import (
    EARLY,
    REPROCESSED,
    SERIES_LABELS,
    USUAL_KINDS,
    Analysis,
    Claims,
    ObjectReference,
    Omission,
    OverlayStyle,
    ResultKind,
    ResultObject,
    SeriesLabel,
    StudyManifest,
)
from worker.results.claims import claimed
from worker.results.dataset import ResultContext
from worker.results.objects import (
    capture,
    document,
    key_objects,
    parametric_map,
    presentation_state,
    report,
    segmentation,
)
from worker.results.sources.scene import Scene, read_scene
from worker.results.sources.slices import ImagesBySeries, identity_header


@dataclass(frozen=True, slots=True)
class Results:
    """The result objects of one analysis; an ``Omission`` gives the reason for each that is missing."""

    objects: tuple[ResultObject, ...]
    omissions: tuple[Omission, ...] = ()


def build(
    analysis: Analysis,
    evidence: Evidence,
    source: StudyManifest,
    installation_uid: str,
    *,
    claims: Claims = Claims.RESEARCH,
    kinds: AbstractSet[ResultKind] = USUAL_KINDS,
    labels: Mapping[ResultKind, SeriesLabel] = SERIES_LABELS,
    overlay: OverlayStyle = OverlayStyle.HEAT,
    previous: Sequence[ObjectReference] = (),
    named: AbstractSet[ResultKind] = frozenset(ResultKind),
    images: ImagesBySeries = MappingProxyType({}),
    summary: Summary | None = None,
    former: Summary | None = None,
    telling: int = 0,
    retold_at: datetime | None = None,
) -> Results:
    """The result objects of a study, of the given ``kinds``, in the order of ``ResultKind``.

    Every outcome has a page and a document. Overlays show the slices with a finding, or with evidence where
    the outcome is open, in the style ``overlay``. The report needs an image to refer to; it and the document
    name the ``previous`` ones of the study that they replace (PS3.3 C.17.2). Key objects refer to results of
    the ``named`` kinds only: every destination of the key objects must receive those too. An object that
    cannot be made is an ``Omission``; without a Study Instance UID nothing is made, for no archive could file
    it.
    ``images``: those that an analysis has just read; of others the headers are read again. ``summary``: the
    text that report and document show, within the same ``claims``; ``telling``: how many came before it,
    ``former``: the last of them, in whose place it came at ``retold_at``.

    The same arguments give the same bytes. Reads the source files; writes none. Raises ``OSError`` where the
    storage fails.
    """
    if analysis.study_instance_uid is None:
        reason = "the study has no Study Instance UID"
        return Results((), tuple(Omission(kind, reason) for kind in ResultKind if kind in kinds))
    shown, shown_evidence = claimed(analysis, evidence, claims)
    scene = read_scene(shown, shown_evidence, source, images)
    taken = [verdict.series_instance_uid for verdict in analysis.verdicts if verdict.taken]
    header = scene.key.header if scene.key is not None else identity_header(source, taken, images)
    context = ResultContext(
        shown,
        analysis.study_instance_uid,
        header,
        installation_uid,
        claims,
        labels,
        overlay,
        _rerun(source),
        source.patient,
        summary,
        former,
        telling,
        retold_at,
    )
    made: list[ResultObject | Omission] = []
    for kind in ResultKind:
        if kind in kinds:
            others = [item for item in made if isinstance(item, ResultObject) and item.kind in named]
            made.extend(_made(kind, context, scene, previous, others))
    return Results(
        tuple(item for item in made if isinstance(item, ResultObject)),
        tuple(dict.fromkeys(item for item in made if isinstance(item, Omission))),
    )


def _rerun(source: StudyManifest) -> str:
    """What is said again of the same images differs.

    It was asked for, no more images may follow now, or what was said before was withdrawn: an archive may
    never take an object again that a note has rejected.
    """
    again = source.completed_by in (EARLY, REPROCESSED)
    return " ".join(
        [f"revision {source.revision}"] * again
        + [f"after revision {source.withdrawn}"] * bool(source.withdrawn)
    )


def _made(
    kind: ResultKind,
    context: ResultContext,
    scene: Scene,
    previous: Sequence[ObjectReference],
    others: Sequence[ResultObject],
) -> Iterator[ResultObject | Omission]:
    """Objects of one kind. ``others``: objects made before, to which this one may refer."""
    match kind:
        case ResultKind.PAGE:
            yield capture.page(context, scene)
        case ResultKind.OVERLAY | ResultKind.OVERLAY_SERIES:
            yield from capture.overlays(context, scene, kind)
        case ResultKind.OVERLAY_FRAMES | ResultKind.OVERLAY_SERIES_FRAMES:
            yield from capture.overlay_frames(context, scene, kind)
        case ResultKind.REPORT:
            yield report.report(context, scene, previous)
        case ResultKind.KEY_OBJECTS:
            yield key_objects.key_objects(context, scene, others)
        case ResultKind.SEGMENTATION | ResultKind.LABELMAP:
            yield from segmentation.segmentations(context, scene, kind)
        case ResultKind.PARAMETRIC_MAP:
            yield from parametric_map.parametric_maps(context, scene)
        case ResultKind.PRESENTATION_STATE:
            yield from presentation_state.presentation_states(context, scene)
        case ResultKind.DOCUMENT:
            yield document.document(context, scene, previous)
