"""Real studies are taken or refused as a careful engineer read them, by header and cheap pixel facts."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Final

from neurotriage.core.errors import Refused
from neurotriage.core.values import Outcome, SeriesManifest, SeriesVerdict, StudyManifest
from neurotriage.dicom.manifest import scan_folder
from tests.eligibility.rule import RULE
from worker.eligibility import outcome_of_refusals, refused_by_pixels, too_coarse, too_few_slices
from worker.imaging import build_volume, extent, pixel_facts
from worker.selection import choose

_TAKEN: Final = "taken"
_NO_ANSWER: Final = {Outcome.POOR_QUALITY, Outcome.INCOMPLETE, Outcome.NOT_ELIGIBLE, Outcome.UNDETERMINED}
_ALLOWED: Final[dict[str, set[str]]] = {
    "brain-analyse": {_TAKEN},
    "not_eligible": {Outcome.NOT_ELIGIBLE},
    "poor_quality": set(_NO_ANSWER),
    "undetermined": {Outcome.UNDETERMINED, Outcome.POOR_QUALITY, Outcome.NOT_ELIGIBLE},
}


def _looked_at(verdict: SeriesVerdict, series: SeriesManifest) -> SeriesVerdict:
    try:
        built = build_volume(series, RULE)
    except Refused as refused:
        return replace(verdict, taken=False, reason=refused.reason)
    pixels, size = refused_by_pixels(pixel_facts(built.volume), RULE), extent(built.volume)
    reason = pixels or built.missing or too_few_slices(size, RULE) or too_coarse(size, RULE)
    return verdict if reason is None else replace(verdict, taken=False, reason=reason)


def _end(study: StudyManifest) -> tuple[str, tuple[SeriesVerdict, ...]]:
    if study.conflict is not None:
        return Outcome.NOT_ELIGIBLE, ()
    by_uid = {series.series_instance_uid: series for series in study.series}
    verdicts = tuple(
        _looked_at(verdict, by_uid[verdict.series_instance_uid]) if verdict.taken else verdict
        for verdict in choose(study, RULE).verdicts
    )
    if any(verdict.taken for verdict in verdicts):
        return _TAKEN, verdicts
    return outcome_of_refusals(verdicts)[0], verdicts


def test_every_study_is_taken_or_refused_as_expected(data_dir: Path) -> None:
    table, wrong, folders = [], 0, 0
    with (data_dir / "dicom" / "studies.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            folders += 1
            for study in scan_folder(data_dir / "dicom" / row["folder"]).studies:
                end, verdicts = _end(study)
                fits = end in _ALLOWED[row["expected"]]
                wrong += not fits
                codes = ", ".join(verdict.reason.code for verdict in verdicts)
                mark = "" if fits else "WRONG "
                table.append(f"{mark}{row['folder']}: {row['expected']} -> {end} ({codes})")
    assert folders > 50
    assert not wrong, "\n".join(table)


def test_in_a_study_of_t1_and_adc_only_the_t1_is_taken(data_dir: Path) -> None:
    (study,) = scan_folder(data_dir / "dicom" / "brain_mr_siemens_enhanced_t1_multi").studies
    assert sorted((v.description, v.taken) for v in choose(study, RULE).verdicts) == [
        ("DWI_dir80_PA_ADC", False),
        ("anat-T1w_acq-tfl", True),
    ]


def test_both_series_of_the_tumour_study_are_taken_and_a_head_is_meant(data_dir: Path) -> None:
    (study,) = scan_folder(data_dir / "dicom" / "brain_mr_philips_flair_t2star_tumour").studies
    verdicts = choose(study, RULE).verdicts
    assert [(v.taken, v.head_meant) for v in verdicts] == [(True, True), (True, True)]
