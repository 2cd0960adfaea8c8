"""The annexes: the contents of created objects, attribute by attribute and code by code."""

from collections.abc import Sequence

from neurotriage.conformance.created import Attribute, CodedTerm, Created
from neurotriage.conformance.markdown import table
from neurotriage.dicom.sop_classes import sop_class_name

_LEGEND = """Presence: ALWAYS; VNAP, the value may be empty; ANAP, the attribute may be absent; EMPTY.
Source: COPY, from the images; FIXED, the value stands in the last column; AUTO, made for the study."""


def objects(created: Sequence[Created]) -> str:
    """The attributes of each kind of object; the contents of sequences are in the other annexes."""
    shared = [a for a in created[0].attributes if all(a in other.attributes for other in created)]
    private = sorted({a.tag for kind in created for a in kind.attributes if int(a.tag[1:5], 16) % 2})
    private_note = (
        f"Private attributes: {', '.join(private)}." if private else "There are no private attributes."
    )
    own = [_attributes(_title(kind), [a for a in kind.attributes if a not in shared]) for kind in created]
    return "\n\n".join([_LEGEND, private_note, _attributes("Every object", shared), *own])


def _title(created: Created) -> str:
    return f"{created.kind.value}: {sop_class_name(created.sop_class)}"


def _attributes(title: str, attributes: Sequence[Attribute]) -> str:
    rows = [(a.tag, a.name, a.vr, a.presence, a.source, a.value) for a in attributes]
    return f"### {title}\n\n{table(('tag', 'attribute', 'VR', 'presence', 'source', 'value'), rows)}"


def reports(created: Sequence[Created]) -> str:
    """The content trees of the structured reports."""
    trees = [
        f"### {_title(kind)}\n\n```\n{chr(10).join(kind.content)}\n```" for kind in created if kind.content
    ]
    return "\n\n".join(
        [
            "What appears depends on the study, the language of the summary on the configuration; siblings "
            "may repeat. The root template is in section 1.1.1.",
            *trees,
        ]
    )


def codes(terms: Sequence[CodedTerm]) -> str:
    """Every coded term of every object."""
    schemes = ", ".join(sorted({term.scheme for term in terms}))
    rows = [(term.value, term.scheme, term.meaning, ", ".join(term.kinds)) for term in terms]
    return f"Coding schemes: {schemes}.\n\n{table(('code', 'scheme', 'meaning', 'used in'), rows)}"
