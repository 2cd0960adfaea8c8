"""Key Object Selection (PS3.3 A.35.4): the images of the study to look at first."""

from collections.abc import Sequence
from typing import Final

from pydicom.sr.coding import Code
from pydicom.uid import KeyObjectSelectionDocumentStorage

from neurotriage.core.values import Claims, ObjectReference, Omission, ResultKind, ResultObject
from worker.results.dataset import ResultContext, new_object, result_of
from worker.results.objects.selection import fill_selection, image_item, object_item
from worker.results.sources.scene import Scene, marked_slices
from worker.results.wording import text

KIND: Final = ResultKind.KEY_OBJECTS
OF_INTEREST: Final = Code("113000", "DCM", "Of Interest")


def key_objects(
    context: ResultContext, scene: Scene, made: Sequence[ResultObject]
) -> ResultObject | Omission:
    """A Key Object Selection (TID 2010) of the slices with findings and of the result objects in ``made``.

    With triage-only claims it names no slice. An ``Omission`` where there is nothing to refer to.
    """
    images = marked_slices(context.analysis, scene)
    if not context.analysis.outcome.marked:
        return Omission(KIND, text.nothing_marked(context.analysis, context.claims))
    if not images and not made:
        return Omission(KIND, "there is no image and no other result that it could name")
    others = [
        ObjectReference(item.sop_class_uid, item.sop_instance_uid, item.series_instance_uid) for item in made
    ]
    named = (item.sop_instance_uid for item in others)
    dataset = new_object(context, KIND, 0, KeyObjectSelectionDocumentStorage, "KO", *named)
    items = (*map(image_item, images), *map(object_item, others))
    evidence = list(dict.fromkeys([*(image.reference for image in images), *others]))
    fill_selection(dataset, context, OF_INTEREST, _description(context), items, evidence)
    return result_of(dataset, KIND, 0)


def _description(context: ResultContext) -> str:
    title = text.verdict(context.analysis.outcome).title
    summary = "" if context.claims is Claims.TRIAGE_ONLY else f" {text.summary(context.analysis)}"
    return f"{title}.{summary} {text.RESEARCH_NOTICE}."
