"""From an analysis to its result objects, without inference."""

from collections.abc import Iterator, Sequence
from collections.abc import Set as AbstractSet

from neurotriage.core.evidence import Evidence
from neurotriage.core.values import (
    USUAL_KINDS,
    Analysis,
    Claims,
    ObjectReference,
    ResultKind,
    ResultObject,
    StudyManifest,
)
from worker.results import capture
from worker.results.claims import claimed
from worker.results.dataset import Frame
from worker.results.report import report
from worker.results.scene import Scene, read_scene
from worker.results.source import identity_header


def build(
    analysis: Analysis,
    evidence: Evidence,
    source: StudyManifest,
    installation_uid: str,
    *,
    claims: Claims = Claims.RESEARCH,
    kinds: AbstractSet[ResultKind] = USUAL_KINDS,
    previous: Sequence[ObjectReference] = (),
) -> tuple[ResultObject, ...]:
    """The result objects of a study, of the given ``kinds``, in the order of ``ResultKind``.

    Every outcome has a page. Overlays show the slices with a finding, or with evidence where the outcome is
    open; the report exists where there is an image to point at, and names the ``previous`` reports of the
    study that it replaces. A study without a Study Instance UID has no place in an archive, so nothing is
    made. Called again with the same values, the bytes are the same. Reads the source files; never writes.
    """
    if analysis.study_instance_uid is None:
        return ()
    shown, seen = claimed(analysis, evidence, claims)
    scene = read_scene(shown, seen, source)
    taken = [verdict.series_instance_uid for verdict in analysis.verdicts if verdict.taken]
    header = scene.key.header if scene.key is not None else identity_header(source, taken)
    frame = Frame(shown, analysis.study_instance_uid, header, installation_uid, claims)
    return tuple(_objects(frame, scene, kinds, previous))


def _objects(
    frame: Frame, scene: Scene, kinds: AbstractSet[ResultKind], previous: Sequence[ObjectReference]
) -> Iterator[ResultObject]:
    if ResultKind.PAGE in kinds:
        yield capture.page(frame, scene)
    for kind in (ResultKind.OVERLAY, ResultKind.OVERLAY_SERIES):
        if kind in kinds:
            yield from capture.overlays(frame, scene, kind)
    if ResultKind.REPORT in kinds:
        written = report(frame, scene, previous)
        if written is not None:
            yield written
