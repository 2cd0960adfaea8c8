"""A Structured Report as indented text, read from the object itself."""

from collections.abc import Iterator

from pydicom.dataset import Dataset


def report_lines(item: Dataset, depth: int = 0) -> Iterator[str]:
    """One line per content item, indented by its depth: concept name and value (PS3.3 C.17.3)."""
    yield f"{'  ' * depth}{_concept(item)}{_value(item)}"
    for child in item.get("ContentSequence") or ():
        yield from report_lines(child, depth + 1)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeMeaning) if names else str(item.get("ValueType", ""))


def _value(item: Dataset) -> str:
    kind = item.get("ValueType")
    if kind == "TEXT":
        return f": {item.TextValue}"
    if kind == "CODE":
        return f": {item.ConceptCodeSequence[0].CodeMeaning}"
    if kind == "NUM":
        measured = item.MeasuredValueSequence[0]
        unit = measured.MeasurementUnitsCodeSequence[0].CodeValue
        return f": {measured.NumericValue} {unit}"
    if kind == "UIDREF":
        return f": {item.UID}"
    if kind == "IMAGE":
        return f": image {item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID}"
    if kind == "SCOORD":
        return f": {item.GraphicType} of {len(item.GraphicData) // 2} points"
    return ""
