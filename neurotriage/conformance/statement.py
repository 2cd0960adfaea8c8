"""The statement, section by section in the order and with the headings of PS3.2 Annex N."""

from collections.abc import Sequence

from pydicom.charset import python_encoding

from dicom_listener.files.intake import (
    CANNOT_UNDERSTAND,
    CLASS_NOT_SUPPORTED,
    OTHER_STUDY,
    OUT_OF_RESOURCES,
    SYNTAX_NOT_SUPPORTED,
)
from neurotriage import __version__
from neurotriage.conformance import annexes, details
from neurotriage.conformance.commitment import commitment
from neurotriage.conformance.created import Created, created_objects
from neurotriage.conformance.markdown import table
from neurotriage.core.settings import Settings
from neurotriage.dicom.sop_classes import sop_class_name
from neurotriage.pull.dimse import storage_contexts
from worker.results.charset import UTF_8

_SECTIONS = (
    "1 Overview",
    "2 Table of contents",
    "3 Introduction",
    "4 Implementation model",
    "5 Service and interoperability description",
    "6 Configuration",
    "7 Network and media communication details",
    "8 Security",
    "Annex A Information object definitions of created objects",
    "Annex B Structured report content encoding",
    "Annex C Code set usage",
)


def statement(settings: Settings) -> str:
    """The DICOM conformance statement of this installation, in Markdown."""
    created, terms = created_objects(settings.results, settings.summary)
    bodies = (
        _overview(settings, created),
        "\n".join(f"- {title}" for title in _SECTIONS),
        _introduction(),
        _MODEL,
        _services(settings),
        details.configuration(settings),
        details.network(settings, created),
        details.security(settings),
        annexes.objects(created),
        annexes.reports(created),
        annexes.codes(terms),
    )
    parts = [f"## {title}\n\n{body}" for title, body in zip(_SECTIONS, bodies, strict=True)]
    return "\n\n".join([_cover(settings), *parts]) + "\n"


def _cover(settings: Settings) -> str:
    return f"""# DICOM Conformance Statement: neurotriage {__version__}

Structure of PS3.2 Annex N. Written by `neurotriage conformance` from the running configuration (AE title
`{settings.listener.ae_title}`) and from the tables that the software works with.

> Research software. Not a medical device, not for diagnosis."""


def _overview(settings: Settings, created: Sequence[Created]) -> str:
    rows = [
        (sop_class_name(kind.sop_class), f"`{kind.sop_class}`", kind.kind.value, _receivers(settings, kind))
        for kind in created
    ]
    return f"""neurotriage receives head CT and MR studies, analyses them without anybody's action, and sends
result objects to one or more archives.

### 1.1 Content and transfer

Received and stored: every Storage SOP Class of section 7.2.1.4, as it was sent. Analysed: CT, Enhanced CT, MR
and Enhanced MR images. Created:

{table(("SOP Class", "UID", "object", "sent to"), rows)}

#### 1.1.1 Structured Reporting root template

TID 1500 Measurement Report.

### 1.2 DIMSE services

{table(("service", "SCU", "SCP"), _dimse_rows(settings))}

### 1.3 DICOM Web Services

Studies service, Store (STOW-RS) and Search (QIDO-RS): user agent, for destinations of type `dicomweb`;
Search and Retrieve (WADO-RS) also for `neurotriage pull`. Store: origin server (section 5.6), where it
is configured.

### 1.4 Media services

`neurotriage import` reads the files of a File-set (File-set Reader) of any media; of its DICOMDIR only the
Referenced File IDs are read, to tell which files are missing.

### 1.5 Real-Time Video service

None.

### 1.6 De-identification profiles

None.

### 1.7 Specific Character Sets

Written: that of the source where it encodes every text of the object, else `{UTF_8}`; a misspelt term is
mended, an unknown one becomes `{UTF_8}`. Read: {_character_sets()}."""


def _character_sets() -> str:
    """The character sets of PS3.3 C.12.1.1.2 that pydicom decodes."""
    known = (name for name in python_encoding if name.startswith(("ISO_IR", "ISO 2022 IR", "GB")))
    return ", ".join(f"`{name}`" for name in sorted(known))


def _receivers(settings: Settings, created: Created) -> str:
    names = [destination.name for destination in settings.destination if created.kind in destination.kinds]
    return ", ".join(names) or "-"


def _dimse_rows(settings: Settings) -> list[tuple[str, str, str]]:
    commits = "yes" if settings.listener.storage_commitment else "if configured (here: no)"
    return [
        ("Verification", "yes (`neurotriage doctor`)", "yes"),
        ("Storage", "yes", "yes"),
        ("Storage Commitment Push Model", "yes", commits),
        ("Query/Retrieve, Study Root FIND", "yes", "no"),
        ("Query/Retrieve, Study Root MOVE", "yes (`neurotriage pull`)", "no"),
        ("Query/Retrieve, Study Root GET", "yes (`neurotriage pull --get`)", "no"),
    ]


def _introduction() -> str:
    return f"""### 3.1 Revision history

This statement is that of version {__version__}. Another version, or another configuration, has another
statement: run `neurotriage conformance` anew.

### 3.2 Audience

Those who connect neurotriage to modalities and archives.

### 3.3 Remarks

Conformance statements of two products say whether they can exchange objects, not whether a viewer shows them
well. `neurotriage doctor --store` tries a destination out before the first patient.

### 3.4 Abbreviations

AE Application Entity; IOD Information Object Definition; SCP Service Class Provider; SCU Service Class User;
SOP Service-Object Pair; SR Structured Report; TID Template Identifier; UID Unique Identifier.

### 3.5 References

NEMA PS3 / ISO 12052, Digital Imaging and Communications in Medicine (DICOM) Standard."""


_MODEL = """### 4.1 Application Entities and data flow

    modality, archive -- C-STORE --> listener -> analysis -> delivery -- C-STORE, STOW-RS --> archive

One Application Entity, in processes that share its title: the listener receives, the delivery worker sends,
`neurotriage pull` retrieves. STOW-RS is taken by a process of its own.

### 4.2 Functional definition

The listener makes each instance durable before it answers. A study is taken to be complete when nothing came
for a configured time; an instance that comes later opens it again, and if the analysed images changed, a new
revision of the results is made. The delivery worker opens an association per study and destination. Objects
that neurotriage made, and that an archive routes back to it, are recorded and open no study."""


def _services(settings: Settings) -> str:
    return f"""### 5.1 Verification

SCP: C-ECHO is answered 0x0000 to every peer that may associate.

### 5.2 Storage

SCP: level 2 (full): all attributes are kept, byte for byte, in the transfer syntax in which they were sent.
No attribute is coerced. A SOP Instance received again with the same data set is recorded once; with another
data set both are kept, and the one that came first counts, unless the same picture comes again with another
patient: then the later one does, and results under the earlier patient are withdrawn.
Received objects are not offered for retrieval.

Rejection notes (IHE IOCM), SCP: of a Key Object Selection with the title (113001, DCM), (113037, DCM) or
(113038, DCM) that another maker sent, the instances in its Current Requested Procedure Evidence Sequence no
longer belong to their studies, whichever comes first; one with (113039, DCM) is recorded only. SCU: to a
destination with `rejection_notes`, (113001, DCM) for results of a recalled model, (113037, DCM) for those
of another patient or of rejected instances.

SCU: an object that is sent again has the same SOP Instance UID and the same bytes. A changed result has new
UIDs and, in a report, names the one that it replaces (Predecessor Documents Sequence). Transfer syntaxes are
not converted, except from Explicit to Implicit VR Little Endian where the archive accepts nothing else, and,
for a destination with `compression = "jpeg-ls"`, of Secondary Captures to JPEG-LS Lossless where that is
accepted; the SOP Instance UID stays, since the pixels do. One that is answered 0xC000-0xCFFF in that form is
sent once more as it is, where an uncompressed syntax was accepted, too.

### 5.3 Storage Commitment and Query

SCU, for the proof that a stored object is kept: where a destination with `commitment = "auto"` accepts the
Storage Commitment Push Model, an N-ACTION names the objects of a study after the last one was stored. The
N-EVENT-REPORT may come on the same association, or on a new one at the listener from the AE title that was
asked; a failure reported later takes a success back. An object that is not
reported within {settings.delivery.commitment_wait_s:g} s, or cannot be asked for, is looked for by C-FIND
(Study Root, at the level of the destination's `find`; keys Study, Series and SOP Instance UID) or by QIDO-RS.
One that is reported as failed, or not found after several looks, is sent again at most
{settings.delivery.max_resends} times.

{commitment(settings)}

### 5.4 Repetition

What could not be sent is tried again after {settings.delivery.retry_s:g} s, then after delays that double
up to {settings.delivery.retry_max_s:g} s, at most {settings.delivery.max_attempts} times. An object that was
sent before is looked for by query, where one can be made, before it is sent again, refused or given up.

{_others(settings)}"""


def _others(settings: Settings) -> str:
    return f"""### 5.5 Query/Retrieve

SCU, by `neurotriage pull`, Study Root, level STUDY. C-FIND has AccessionNumber or StudyInstanceUID as
its only matching key, without wildcards, and NumberOfStudyRelatedInstances as return key; matches with
another value are ignored. C-MOVE names our AE title; C-GET proposes the SCP role for
{len(storage_contexts())} presentation contexts of storage, CT, MR and their enhanced forms one for each
transfer syntax of section 7.2.4. A retrieval that takes longer than {settings.pull.study_timeout_s:g} s
ends. In QIDO-RS and WADO-RS the same keys are used, and application/dicom in any transfer syntax is
asked for.

### 5.6 STOW-RS

Origin server, {_stow(settings)}: `POST /studies` and `POST /studies/{{study}}` with `multipart/related;
type="application/dicom"`. SOP classes and transfer syntaxes are those of section 7.2.4; an instance is
durable when the answer names it in ReferencedSOPSequence. With a study in the path, instances of others
fail. RetrieveURL is empty. Answers: `application/dicom+json`, `application/dicom+xml`.

{table(("HTTP status", "when"), _WEB_STATUSES)}

{table(("Failure Reason", "when"), _FAILURES)}"""


def _stow(settings: Settings) -> str:
    return "not configured here" if settings.stow is None else f"{settings.stow.host}:{settings.stow.port}"


_WEB_STATUSES = (
    ("200", "every instance is stored"),
    ("202", "some instances are stored"),
    ("400", "no multipart message, or it ends early; whole parts before are stored"),
    ("401", "neither the token nor the certificate of a peer"),
    ("406", "neither JSON nor XML is acceptable"),
    ("408", "the body came too slowly"),
    ("409", "no instance is stored"),
    ("413", "more bytes or parts than configured; whole parts before are stored"),
    ("415", "another media type than application/dicom"),
    ("429", "the peer has sent what it may in a day (max_bytes_per_day)"),
    ("503", "as many requests as configured are served, or the disk is full; send again"),
)
_FAILURES = tuple(
    (f"0x{reason:04X}", when)
    for reason, when in (
        (OUT_OF_RESOURCES, "too little room, the disk reports an error, or the instance is too large"),
        (OTHER_STUDY, "the instance is not of the study in the path"),
        (CANNOT_UNDERSTAND, "no DICOM file, one that ends early, or a UID is not made of digits and dots"),
        (SYNTAX_NOT_SUPPORTED, "the transfer syntax is not received"),
        (CLASS_NOT_SUPPORTED, "the SOP class is not received"),
    )
)
