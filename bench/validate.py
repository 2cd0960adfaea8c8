"""Validates the result objects of every outcome of made studies with three validators.

``python -m bench.validate [--all] [--json FILE]`` prints a table and each error, and exits 1 if there is one.
``--all``: a validator that is not installed is an error, too.
"""

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from bench.validators import Absent, dcentvfy, dciodvfy, pixelmed
from neurotriage.core.evidence import Evidence
from neurotriage.core.settings import SummarySettings
from neurotriage.core.summary import Language
from neurotriage.core.values import (
    Analysis,
    Claims,
    NoteKind,
    ObjectReference,
    Outcome,
    ResultKind,
    StudyManifest,
)
from neurotriage.phantom import (
    INSTALLATION,
    STUDIES,
    make_analysis,
    make_fused_analysis,
    make_pair,
    make_study,
)
from worker.results import build
from worker.summary import tell

# A CT and an MR that are classified together.
FUSION = "fusion"
# Their reports differ in structure, those of the others in the patient only; PixelMed is slow.
REPORTS_OF = ("mr_axial", "mr_enhanced", "ct_tilted", FUSION)
REPORTS = (ResultKind.REPORT, ResultKind.KEY_OBJECTS)
# Kinds and claims that are alike for every study are tested on this one.
EVERYTHING_OF = "mr_axial"
# The kinds that show the text, which are made in each language.
WITH_TEXT = {ResultKind.PAGE, ResultKind.REPORT, ResultKind.DOCUMENT}
# Their sources violate the standard, so the copied attributes differ from the source's.
ILLEGAL_SOURCES = ("malformed", "sparse")
EARLIER = (
    ObjectReference("1.2.840.10008.5.1.4.1.1.88.34", "2.25.8", "2.25.9"),
    ObjectReference("1.2.840.10008.5.1.4.1.1.104.1", "2.25.88", "2.25.99"),
)


@dataclass(frozen=True, slots=True)
class ValidationCase:
    """The result objects of one outcome of one study, as files (PS3.10) beside their sources."""

    study: str
    outcome: Outcome
    claims: Claims
    language: Language
    sources: tuple[Path, ...]
    objects: tuple[tuple[ResultKind | NoteKind, Path], ...]


@dataclass(frozen=True, slots=True)
class Validation:
    """The errors of a validator for one object, or for all objects of a case; empty for none."""

    object: str
    case: ValidationCase
    validator: str
    errors: tuple[str, ...]


def cases_of(study: str, folder: Path) -> Iterator[ValidationCase]:
    """Make a study of ``STUDIES``, or ``FUSION``, and write the objects of each outcome below ``folder``.

    Paths are ``CLAIMS/LANGUAGE/OUTCOME/KIND-INDEX.dcm``. Raises ``KeyError`` for another name.
    """
    manifest, analyse = _made(study, folder / "source")
    sources = tuple(instance.path for series in manifest.series for instance in series.instances)
    for claims, language, outcome in product(Claims, Language, Outcome):
        kinds = _kinds(study, claims, language)
        if not kinds:
            continue
        analysis, evidence = analyse(outcome)
        place = folder / claims.value / language.value / outcome.value
        place.mkdir(parents=True)
        objects = []
        for result in build(
            analysis,
            evidence,
            manifest,
            INSTALLATION,
            claims=claims,
            kinds=kinds,
            previous=EARLIER,
            summary=tell(analysis, SummarySettings(language=language, plain_language=True), claims).summary,
        ).objects:
            path = place / f"{result.kind.value}-{result.index:03d}.dcm"
            path.write_bytes(result.data)
            objects.append((result.kind, path))
        yield ValidationCase(study, outcome, claims, language, sources, tuple(objects))


def _kinds(study: str, claims: Claims, language: Language) -> set[ResultKind]:
    """The kinds that differ by study, claims and language from those that are made anyway."""
    if study != EVERYTHING_OF and claims is not Claims.RESEARCH:
        return set()
    if language is not Language.ENGLISH:
        return WITH_TEXT if study in (EVERYTHING_OF, FUSION) else set()
    every = set(ResultKind)
    if study == EVERYTHING_OF:
        return every
    return every - {ResultKind.OVERLAY_SERIES, ResultKind.OVERLAY_SERIES_FRAMES}


def _made(study: str, folder: Path) -> tuple[StudyManifest, Callable[[Outcome], tuple[Analysis, Evidence]]]:
    """A study on disk, and its analysis and evidence for each outcome."""
    if study == FUSION:
        ct, mr = make_pair(folder, slices=9)
        return ct.manifest, lambda outcome: make_fused_analysis(ct, mr, outcome)
    made = make_study(folder, slices=9, **STUDIES[study])
    return made.manifest, lambda outcome: make_analysis(made, outcome)


def check(case: ValidationCase) -> Iterator[Validation]:
    """Validate a case with dicom3tools. Raises ``Absent``.

    Identifiers are copied unchanged, so errors that the source has too are ignored.
    """
    illegal = case.study in ILLEGAL_SOURCES
    inherited = set(dciodvfy(case.sources[0])) if illegal else set()
    for kind, path in case.objects:
        errors = tuple(error for error in dciodvfy(path) if error not in inherited)
        yield Validation(kind.value, case, "dciodvfy", errors)
    if illegal:
        return
    paths = [path for _, path in case.objects]
    yield Validation("study", case, "dcentvfy", tuple(_without_earlier(dcentvfy(paths, case.sources))))


def check_reports(cases: Iterable[ValidationCase]) -> Iterator[Validation]:
    """Validate the structured reports of all cases with PixelMed. Raises ``Absent``."""
    reports = {
        path: (kind, case)
        for case in cases
        if case.study in REPORTS_OF
        for kind, path in case.objects
        if kind in REPORTS
    }
    for path, errors in pixelmed(list(reports)).items():
        kind, case = reports[path]
        yield Validation(kind.value, case, "PixelMed", tuple(errors))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run all installed validators; returns 1 if one finds an error."""
    parser = argparse.ArgumentParser(prog="python -m bench.validate", description=__doc__)
    parser.add_argument("--all", action="store_true", help="a validator that is not installed is an error")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the table's rows")
    options = parser.parse_args(arguments)
    checked, absent = _check_all()
    rows = _rows(checked)
    _show(rows)
    for validation in checked:
        for error in validation.errors:
            case = validation.case
            made = f"{case.study} {case.outcome} {case.language}"
            print(f"{made} {validation.object} {validation.validator}: {error}")
    for sentence in absent:
        print(sentence)
    if options.json:
        options.json.write_text(json.dumps({"rows": rows, "absent": absent}, indent=2))
    wrong = any(validation.errors for validation in checked)
    return int(wrong or (options.all and bool(absent)) or not checked)


def _check_all() -> tuple[list[Validation], list[str]]:
    """All validations, and a sentence for each validator that is not installed."""
    checked: list[Validation] = []
    absent: dict[str, None] = {}
    with tempfile.TemporaryDirectory() as folder:
        cases = [case for study in (*STUDIES, FUSION) for case in cases_of(study, Path(folder) / study)]
        for verdicts in (*map(check, cases), check_reports(cases)):
            try:
                checked.extend(verdicts)
            except Absent as missing:
                absent[str(missing)] = None
    return checked, list(absent)


def _without_earlier(complaints: Iterable[str]) -> list[str]:
    """Without complaints on the replaced report, which is in the archive and not here."""
    return [line for line in complaints if not any(item.sop_instance_uid in line for item in EARLIER)]


def _rows(checked: Iterable[Validation]) -> list[dict[str, str | int]]:
    """One row per object, outcome, claims and validator, over all studies."""
    groups: dict[tuple[str, str, str, str], list[Validation]] = defaultdict(list)
    for validation in checked:
        case = validation.case
        key = validation.object, case.outcome.value, case.claims.value, validation.validator
        groups[key].append(validation)
    names = ("object", "outcome", "claims", "validator")
    return [
        {
            **dict(zip(names, key, strict=True)),
            "checked": len(group),
            "errors": sum(len(validation.errors) for validation in group),
        }
        for key, group in sorted(groups.items())
    ]


def _show(rows: Sequence[dict[str, str | int]]) -> None:
    layout = "{object:27}{outcome:15}{claims:13}{validator:11}{checked:>8}{errors:>8}"
    print(
        layout.format(
            **{name: name for name in ("object", "outcome", "claims", "validator", "checked", "errors")}
        )
    )
    for row in rows:
        print(layout.format(**row))
    total = sum(int(row["errors"]) for row in rows)
    print(f"{total} errors in {sum(int(row['checked']) for row in rows)} checks")


if __name__ == "__main__":
    sys.exit(main())
