"""The images that the results of a study show, and their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from neurotriage.core.errors import Refused
from neurotriage.core.evidence import Evidence, SliceEvidence
from neurotriage.core.values import Analysis, Finding, StudyManifest
from worker.imaging import Pixels, open_pixels
from worker.results.sources.display import Window, window_of
from worker.results.sources.slices import ImagesBySeries, SourceSlice, analysed_slices
from worker.results.wording import text

MAX_OVERLAYS = 25
NEIGHBOURS = 1  # slices shown on either side of a slice with a finding
MONTAGE = 9  # slices that represent the analysed stack where nothing was found

SliceKey = tuple[str, int | None]  # SOP Instance UID and 1-based frame
StackKey = tuple[str, int]  # Series Instance UID and 1-based stack
Polygon = Sequence[tuple[float, float]]  # (column, row) in pixels; pixel edges lie on whole numbers


class FrameReader:
    """Reads slices in true units. The last file's header is kept, for its frames are read in sequence."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._opened: Pixels | None = None

    def read(self, image: SourceSlice) -> NDArray[np.float32] | None:
        """The slice (rows, columns), in HU for CT; None where an unanalysed neighbour cannot be decoded."""
        try:
            if self._opened is None or self._path != image.path:
                self._opened, self._path = open_pixels(image.path), image.path
            return self._opened.frame(image.frame)
        except Refused:
            return None


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The images that results show, with the model's evidence on them.

    ``slices``: those of all series with findings or evidence, and of one analysed series of each other
    modality, stack by stack. ``keys``: the key images, the deciding one first, then one per other modality.
    """

    slices: tuple[SourceSlice, ...]
    keys: tuple[SourceSlice, ...] = ()
    evidence: dict[SliceKey, SliceEvidence] = field(default_factory=dict)  # of slices with a mark only
    _windows: dict[StackKey, Window] = field(default_factory=dict)  # filled on demand
    _reader: FrameReader = field(default_factory=FrameReader)

    @property
    def key(self) -> SourceSlice | None:
        """The deciding slice; None where nothing was analysed."""
        return self.keys[0] if self.keys else None

    def find(self, sop_instance_uid: str, frame: int | None) -> SourceSlice | None:
        """The slice of this instance and 1-based frame; None where it is not in the scene."""
        return next((s for s in self.slices if s.key == (sop_instance_uid, frame)), None)

    def pixels(self, image: SourceSlice) -> NDArray[np.float32] | None:
        """A slice (rows, columns) in true units (HU for CT); None where it cannot be decoded."""
        return self._reader.read(image)

    def stack_of(self, image: SourceSlice) -> tuple[SourceSlice, ...]:
        """The slices of the image's stack, which share orientation, matrix and pixel size."""
        return tuple(s for s in self.slices if s.stack_key == image.stack_key)

    def stacks(self) -> tuple[tuple[SourceSlice, ...], ...]:
        """The slices grouped by stack, in scene order."""
        keys = dict.fromkeys(image.stack_key for image in self.slices)
        return tuple(tuple(s for s in self.slices if s.stack_key == key) for key in keys)

    def has_mask(self, image: SourceSlice) -> bool:
        """Whether the lesion mask of a slice has a pixel; False without evidence."""
        return image.key in self.evidence and bool(self.evidence[image.key].mask.any())

    def window(self, image: SourceSlice) -> Window:
        """The grey window (HU for CT) of the image's stack, the same for all its slices.

        For MR it is measured on slices spread evenly along the stack.
        """
        key = image.stack_key
        if key not in self._windows:
            sample = () if image.modality == "CT" else _spread(self.stack_of(image))
            decoded = [pixels for pixels in map(self.pixels, sample) if pixels is not None]
            self._windows[key] = window_of(image.modality, decoded)
        return self._windows[key]


def read_scene(
    analysis: Analysis,
    evidence: Evidence,
    source: StudyManifest,
    images: ImagesBySeries = MappingProxyType({}),
) -> Scene:
    """The images of an analysis that results show; empty where nothing was analysed.

    ``images`` that were read before are taken as they are; of others the headers are read.
    """
    if not analysis.outcome.analysed:
        return Scene(())
    wanted = _shown_series(analysis, evidence)
    by_uid = {series.series_instance_uid: series for series in source.series}
    decided = [decision for decision in analysis.series if decision.outcome.analysed]
    slices = tuple(
        image
        for uid in wanted
        if uid in by_uid
        for image in analysed_slices(
            by_uid[uid], [d for d in decided if d.series_instance_uid == uid], images.get(uid, ())
        )
    )
    kept = {(item.sop_instance_uid, item.frame): item for item in evidence.slices if item.marked}
    return Scene(slices, _key_slices(analysis, evidence, slices), kept)


def _shown_series(analysis: Analysis, evidence: Evidence) -> list[str]:
    """UIDs of the series whose images are shown, the deciding series first; one at least of each modality."""
    uids = [evidence.slices[evidence.key].series_instance_uid] if evidence.key is not None else []
    uids += [f.series_instance_uid for f in analysis.findings] + [
        e.series_instance_uid for e in evidence.slices
    ]
    analysed = sorted(
        (s for s in analysis.series if s.outcome.analysed), key=lambda s: s.outcome is not analysis.outcome
    )
    modality_of = {verdict.series_instance_uid: verdict.modality for verdict in analysis.verdicts}
    shown = {modality_of.get(uid) for uid in uids}
    for item in analysed:
        modality = modality_of.get(item.series_instance_uid)
        if modality not in shown:
            uids.append(item.series_instance_uid)
            shown.add(modality)
    return list(dict.fromkeys(uids))


def overlay_slices(analysis: Analysis, scene: Scene) -> tuple[SourceSlice, ...]:
    """The slices with a finding, or else with evidence, and their neighbours, in scene order.

    At most ``MAX_OVERLAYS``, the most probable ones. Empty for a study without a tumour, where a heat map
    would mislead.
    """
    marked = _marked(analysis, scene)
    rank: dict[int, float] = {}
    for index, image in enumerate(scene.slices):
        if image.key not in marked:
            continue
        for near in range(max(index - NEIGHBOURS, 0), min(index + NEIGHBOURS + 1, len(scene.slices))):
            if scene.slices[near].stack_key == image.stack_key:
                # Where there are too many, neighbours are dropped before marked slices.
                priority = marked[image.key] + (1.0 if near == index else 0.0)
                rank[near] = max(rank.get(near, 0.0), priority)
    best = sorted(rank, key=lambda index: (-rank[index], index))[:MAX_OVERLAYS]
    return tuple(scene.slices[index] for index in sorted(best))


def marked_slices(analysis: Analysis, scene: Scene) -> tuple[SourceSlice, ...]:
    """The slices with a finding, or else with evidence, in scene order.

    At most ``MAX_OVERLAYS``, the most probable ones; empty for a study without a tumour.
    """
    marked = _marked(analysis, scene)
    indices = [index for index, image in enumerate(scene.slices) if image.key in marked]
    best = sorted(indices, key=lambda index: (-marked[scene.slices[index].key], index))[:MAX_OVERLAYS]
    return tuple(scene.slices[index] for index in sorted(best))


def _marked(analysis: Analysis, scene: Scene) -> dict[SliceKey, float]:
    """Tumour probability (0..1) of the slices with a finding, or else with evidence."""
    if not analysis.outcome.marked:
        return {}
    of_findings = {(f.sop_instance_uid, f.frame): f.probability for f in analysis.findings}
    return of_findings or {key: item.probability for key, item in scene.evidence.items()}


def montage_slices(scene: Scene) -> tuple[SourceSlice, ...]:
    """At most ``MONTAGE`` slices spread evenly along the deciding stack; empty where nothing was analysed."""
    return () if scene.key is None else _spread(scene.stack_of(scene.key))


def _spread(series: Sequence[SourceSlice]) -> tuple[SourceSlice, ...]:
    """At most ``MONTAGE`` slices, each from the middle of an equal part of the series."""
    count = min(MONTAGE, len(series))
    return tuple(series[(2 * part + 1) * len(series) // (2 * count)] for part in range(count))


def findings_on(analysis: Analysis, image: SourceSlice) -> tuple[Finding, ...]:
    """The findings on a slice; empty where there are none."""
    return tuple(f for f in analysis.findings if (f.sop_instance_uid, f.frame) == image.key)


def marks_on(analysis: Analysis, scene: Scene, image: SourceSlice) -> SliceEvidence | None:
    """The evidence of a slice (heat map, lesion mask); None where nothing is marked.

    Where only findings were kept, the mask is filled from their outlines and the heat map is 0.
    """
    findings = findings_on(analysis, image)
    if image.key in scene.evidence or not findings:
        return scene.evidence.get(image.key)
    shape = int(image.header.Rows), int(image.header.Columns)
    return SliceEvidence(
        series_instance_uid=image.series_instance_uid,
        sop_instance_uid=image.sop_instance_uid,
        frame=image.frame,
        slice_index=image.number - 1,
        probability=max(finding.probability for finding in findings),
        heat=np.zeros(shape, dtype=np.float16),
        mask=filled([finding.outline for finding in findings], shape),
    )


def middle(series: Sequence[SourceSlice]) -> SourceSlice:
    """The slice halfway along the series, which must not be empty."""
    return series[len(series) // 2]


def _key_slices(
    analysis: Analysis, evidence: Evidence, slices: tuple[SourceSlice, ...]
) -> tuple[SourceSlice, ...]:
    """The deciding slice, and the key slice of each other modality."""
    if not slices:
        return ()
    deciding = _key_slice(analysis, evidence, slices)
    others = sorted({image.modality for image in slices} - {deciding.modality})
    apart = [tuple(image for image in slices if image.modality == modality) for modality in others]
    return deciding, *(_key_slice(analysis, evidence, own) for own in apart)


def _key_slice(analysis: Analysis, evidence: Evidence, slices: tuple[SourceSlice, ...]) -> SourceSlice:
    """The key slice among some slices: the deciding one, else that of the largest finding, else that of the
    most probable evidence, else that of the highest score, else the middle one.
    """
    by_key = {image.key: image for image in slices}
    if evidence.key is not None:
        decided = evidence.slices[evidence.key]
        if (decided.sop_instance_uid, decided.frame) in by_key:
            return by_key[decided.sop_instance_uid, decided.frame]
    own = tuple(f for f in analysis.findings if (f.sop_instance_uid, f.frame) in by_key)
    finding = text.main_finding(replace(analysis, findings=own))
    if finding is not None:
        return by_key[finding.sop_instance_uid, finding.frame]
    with_evidence = [item for item in evidence.slices if (item.sop_instance_uid, item.frame) in by_key]
    if with_evidence:
        most_probable = max(with_evidence, key=lambda item: item.probability)
        return by_key[most_probable.sop_instance_uid, most_probable.frame]
    for item in analysis.series:
        series = [image for image in slices if image.stack_key == (item.series_instance_uid, item.stack)]
        # Equal scores distinguish no slice.
        if len(series) == len(item.scores.tumour) and len(set(item.scores.tumour)) > 1:
            return series[int(np.argmax(item.scores.tumour))]
    return middle(slices)


def filled(outlines: Sequence[Polygon], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """A mask of ``shape`` (rows, columns): the pixels whose centre lies within one of the outlines."""
    fine = Image.new("1", (3 * shape[1], 3 * shape[0]))  # 3 x 3 per pixel, of which the middle one counts
    for outline in outlines:
        if len(outline) > 2:
            ImageDraw.Draw(fine).polygon([(3 * x - 0.5, 3 * y - 0.5) for x, y in outline], fill=1)
    return np.asarray(fine, dtype=np.bool_)[1::3, 1::3]
