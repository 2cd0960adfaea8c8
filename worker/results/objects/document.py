"""Encapsulated PDF (PS3.3 A.45.1) for the referring physician."""

from collections.abc import Sequence

from pydicom.sequence import Sequence as DicomSequence
from pydicom.uid import EncapsulatedPDFStorage

from neurotriage.core.values import ObjectReference, ResultKind, ResultObject
from worker.results.dataset import ResultContext, code_item, new_object, result_of
from worker.results.pictures.panes import shown_slices
from worker.results.pictures.pdf_page import pdf_document
from worker.results.references import image_references, name_predecessors
from worker.results.sources.scene import Scene
from worker.results.wording import text

KIND = ResultKind.DOCUMENT


def document(context: ResultContext, scene: Scene, previous: Sequence[ObjectReference] = ()) -> ResultObject:
    """The document, an Encapsulated PDF (PS3.3 A.45.1) of every outcome; it replaces the ``previous`` ones.

    The standard lists Predecessor Documents for reports; archives order the versions of a PDF by it, too.
    """
    dataset = new_object(context, KIND, 0, EncapsulatedPDFStorage, "DOC")
    dataset.BodyPartExamined = "HEAD"
    dataset.ConversionType = "WSD"
    dataset.BurnedInAnnotation = "NO"  # no identity on the page
    dataset.RecognizableVisualFeatures = "NO"
    dataset.AcquisitionDateTime = ""
    dataset.DocumentTitle = f"AI head triage: {text.verdict(context.analysis.outcome).title}"
    dataset.ConceptNameCodeSequence = DicomSequence([code_item("18748-4", "LN", "Diagnostic Imaging Report")])
    dataset.VerificationFlag = "UNVERIFIED"
    dataset.MIMETypeOfEncapsulatedDocument = "application/pdf"
    images = shown_slices(context, scene)
    if images:
        dataset.SourceInstanceSequence = image_references(images)
    data = pdf_document(context, scene)
    dataset.EncapsulatedDocument = data + b"\0" * (len(data) % 2)
    dataset.EncapsulatedDocumentLength = len(data)
    name_predecessors(dataset, previous)
    return result_of(dataset, KIND, 0)
