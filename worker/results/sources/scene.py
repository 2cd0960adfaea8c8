"""Which images a study's results show, and their pixels."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from neurotriage.core.errors import Refused
from neurotriage.core.evidence import Evidence, SliceEvidence
from neurotriage.core.values import Analysis, Finding, StudyManifest
from worker.imaging import Pixels, open_pixels
from worker.results.sources.display import window_of
from worker.results.sources.slices import SourceSlice, analysed_slices
from worker.results.wording import text

MAX_OVERLAYS = 25
NEIGHBOURS = 1  # slices shown on either side of one with a finding
MONTAGE = 9  # slices that show what was looked at where nothing was found

SliceKey = tuple[str, int | None]


class FrameReader:
    """Slices in true units. The last file stays at hand: frames of one file come one after the other."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._opened: Pixels | None = None

    def read(self, image: SourceSlice) -> NDArray[np.float32] | None:
        """The slice, or None where it cannot be decoded (a neighbour that nobody analysed)."""
        try:
            if self._opened is None or self._path != image.path:
                self._opened, self._path = open_pixels(image.path), image.path
            return self._opened.frame(image.frame)
        except Refused:
            return None


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """The analysed images of a study, sorted, with what the model saw on them."""

    slices: tuple[
        SourceSlice, ...
    ]  # of all series that findings or evidence speak of, else of the analysed one
    keys: tuple[SourceSlice, ...] = ()  # the slice that decided, then one of each other modality
    evidence: dict[SliceKey, SliceEvidence] = field(default_factory=dict)  # where there is something to mark
    # by stack, once asked for
    _windows: dict[tuple[str, int], tuple[float, float]] = field(default_factory=dict)
    _reader: FrameReader = field(default_factory=FrameReader)

    @property
    def key(self) -> SourceSlice | None:
        """The slice that decided."""
        return self.keys[0] if self.keys else None

    def find(self, sop_instance_uid: str, frame: int | None) -> SourceSlice | None:
        """The image of a finding."""
        return next((s for s in self.slices if s.key == (sop_instance_uid, frame)), None)

    def pixels(self, image: SourceSlice) -> NDArray[np.float32] | None:
        """A slice in true units, or None where it cannot be decoded."""
        return self._reader.read(image)

    def stack_of(self, image: SourceSlice) -> tuple[SourceSlice, ...]:
        """The slices of the image's stack: of one orientation, matrix and pixel size."""
        return tuple(s for s in self.slices if s.stack_key == image.stack_key)

    def stacks(self) -> tuple[tuple[SourceSlice, ...], ...]:
        """The slices by stack."""
        keys = dict.fromkeys(image.stack_key for image in self.slices)
        return tuple(tuple(s for s in self.slices if s.stack_key == key) for key in keys)

    def has_mask(self, image: SourceSlice) -> bool:
        """True where the model outlined something on a slice."""
        return image.key in self.evidence and bool(self.evidence[image.key].mask.any())

    def window(self, image: SourceSlice) -> tuple[float, float]:
        """Of the image's whole stack, by slices all along it, so that all its pictures look alike."""
        key = image.stack_key
        if key not in self._windows:
            sample = () if image.modality == "CT" else _spread(self.stack_of(image))
            decoded = [pixels for pixels in map(self.pixels, sample) if pixels is not None]
            self._windows[key] = window_of(image.modality, decoded)
        return self._windows[key]


def read_scene(analysis: Analysis, evidence: Evidence, source: StudyManifest) -> Scene:
    """Find the images of an analysis; empty where nothing was analysed."""
    if not analysis.outcome.analysed:
        return Scene(())
    wanted = _shown_series(analysis, evidence)
    by_uid = {series.series_instance_uid: series for series in source.series}
    decided = [decision for decision in analysis.series if decision.outcome.analysed]
    slices = tuple(
        image
        for uid in wanted
        if uid in by_uid
        for image in analysed_slices(by_uid[uid], [d for d in decided if d.series_instance_uid == uid])
    )
    kept = {(item.sop_instance_uid, item.frame): item for item in evidence.slices if item.marked}
    return Scene(slices, _key_slices(analysis, evidence, slices), kept)


def _shown_series(analysis: Analysis, evidence: Evidence) -> list[str]:
    """Series UIDs whose images are shown, the deciding one first; at least one of each modality."""
    uids = [evidence.slices[evidence.key].series_uid] if evidence.key is not None else []
    uids += [f.series_uid for f in analysis.findings] + [e.series_uid for e in evidence.slices]
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
    """The slices with a finding, or else with evidence, and their neighbours; at most ``MAX_OVERLAYS``.

    A study without a tumour gets none: a heat map on it would only mislead. Where there are too many, the
    most probable slices stay.
    """
    marked = _marked(analysis, scene)
    rank: dict[int, float] = {}
    for place, image in enumerate(scene.slices):
        if image.key not in marked:
            continue
        for near in range(max(place - NEIGHBOURS, 0), min(place + NEIGHBOURS + 1, len(scene.slices))):
            if scene.slices[near].stack_key == image.stack_key:
                # A neighbour goes before a marked slice does, if there are too many.
                worth = marked[image.key] + (1.0 if near == place else 0.0)
                rank[near] = max(rank.get(near, 0.0), worth)
    best = sorted(rank, key=lambda place: (-rank[place], place))[:MAX_OVERLAYS]
    return tuple(scene.slices[place] for place in sorted(best))


def marked_slices(analysis: Analysis, scene: Scene) -> tuple[SourceSlice, ...]:
    """The slices with a finding, or else with evidence; at most ``MAX_OVERLAYS``, the most probable ones."""
    marked = _marked(analysis, scene)
    places = [place for place, image in enumerate(scene.slices) if image.key in marked]
    best = sorted(places, key=lambda place: (-marked[scene.slices[place].key], place))[:MAX_OVERLAYS]
    return tuple(scene.slices[place] for place in sorted(best))


def _marked(analysis: Analysis, scene: Scene) -> dict[SliceKey, float]:
    """Probability by slice: those with a finding, or else with evidence."""
    if not analysis.outcome.marked:
        return {}
    found = {(f.sop_instance_uid, f.frame): f.probability for f in analysis.findings}
    return found or {key: item.probability for key, item in scene.evidence.items()}


def montage_slices(scene: Scene) -> tuple[SourceSlice, ...]:
    """What was looked at: slices all along the deciding stack."""
    return () if scene.key is None else _spread(scene.stack_of(scene.key))


def _spread(series: Sequence[SourceSlice]) -> tuple[SourceSlice, ...]:
    """At most ``MONTAGE`` slices, each from the middle of an equal part of the series."""
    count = min(MONTAGE, len(series))
    return tuple(series[(2 * part + 1) * len(series) // (2 * count)] for part in range(count))


def findings_on(analysis: Analysis, image: SourceSlice) -> tuple[Finding, ...]:
    """The lesions on a slice."""
    return tuple(f for f in analysis.findings if (f.sop_instance_uid, f.frame) == image.key)


def marks_on(analysis: Analysis, scene: Scene, image: SourceSlice) -> SliceEvidence | None:
    """What the model saw on a slice: what was kept, or else the outlines of its lesions; None for nothing."""
    found = findings_on(analysis, image)
    if image.key in scene.evidence or not found:
        return scene.evidence.get(image.key)
    shape = int(image.header.Rows), int(image.header.Columns)
    return SliceEvidence(
        series_uid=image.series_uid,
        sop_instance_uid=image.sop_instance_uid,
        frame=image.frame,
        slice_index=image.number - 1,
        probability=max(finding.probability for finding in found),
        heat=np.zeros(shape, dtype=np.float16),
        mask=filled([finding.outline for finding in found], shape),
    )


def middle(series: Sequence[SourceSlice]) -> SourceSlice:
    """The slice halfway along."""
    return series[len(series) // 2]


def _key_slices(
    analysis: Analysis, evidence: Evidence, slices: tuple[SourceSlice, ...]
) -> tuple[SourceSlice, ...]:
    """The slice that decided, and the one that says most in each other modality."""
    if not slices:
        return ()
    deciding = _key_slice(analysis, evidence, slices)
    others = sorted({image.modality for image in slices} - {deciding.modality})
    apart = [tuple(image for image in slices if image.modality == modality) for modality in others]
    return deciding, *(_key_slice(analysis, evidence, own) for own in apart)


def _key_slice(analysis: Analysis, evidence: Evidence, slices: tuple[SourceSlice, ...]) -> SourceSlice:
    """Of some slices, the one that decided, else of the largest finding, else of the surest evidence, else
    of the highest score, else the middle one."""
    by_key = {image.key: image for image in slices}
    if evidence.key is not None:
        decided = evidence.slices[evidence.key]
        if (decided.sop_instance_uid, decided.frame) in by_key:
            return by_key[decided.sop_instance_uid, decided.frame]
    own = tuple(f for f in analysis.findings if (f.sop_instance_uid, f.frame) in by_key)
    finding = text.main_finding(replace(analysis, findings=own))
    if finding is not None:
        return by_key[finding.sop_instance_uid, finding.frame]
    seen = [item for item in evidence.slices if (item.sop_instance_uid, item.frame) in by_key]
    if seen:
        surest = max(seen, key=lambda item: item.probability)
        return by_key[surest.sop_instance_uid, surest.frame]
    for item in analysis.series:
        series = [image for image in slices if image.stack_key == (item.series_instance_uid, item.stack)]
        # Scores that are all the same single no slice out.
        if len(series) == len(item.scores.tumour) and len(set(item.scores.tumour)) > 1:
            return series[int(np.argmax(item.scores.tumour))]
    return middle(slices)


def filled(outlines: Sequence[Sequence[tuple[float, float]]], shape: tuple[int, int]) -> NDArray[np.bool_]:
    """The pixels (rows, columns) whose centre lies within an outline of (x, y), whole numbers pixel edges."""
    fine = Image.new("1", (3 * shape[1], 3 * shape[0]))  # nine to a pixel; the one in the middle counts
    for outline in outlines:
        if len(outline) > 2:
            ImageDraw.Draw(fine).polygon([(3 * x - 0.5, 3 * y - 0.5) for x, y in outline], fill=1)
    return np.asarray(fine, dtype=np.bool_)[1::3, 1::3]
