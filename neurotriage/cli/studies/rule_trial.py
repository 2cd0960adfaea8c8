"""What rules of a site would decide: the work of ``neurotriage rules test``."""

from collections.abc import Sequence
from dataclasses import dataclass

from neurotriage.core.values import ReasonCode, SeriesVerdict, StudyManifest
from worker.eligibility import EligibilityRule
from worker.selection import BUILT_IN_ALONE, SiteRules, choose_among, read_series

BUILT_IN = "built-in"


@dataclass(frozen=True, slots=True)
class TriedSeries:
    """A series as it ends by its headers under several sets of rules."""

    study: str
    verdict: SeriesVerdict  # under the rules that are tried
    built_in: str  # how it ends under the built-in rules alone
    configured: str | None  # and under those of the configuration; None where there are none

    @property
    def decided_by(self) -> str:
        return f'rule "{self.verdict.rule}"' if self.verdict.rule else BUILT_IN

    @property
    def ends(self) -> str:
        """``taken``, or the code of the refusal, of one by the site with its sentence."""
        return _end(self.verdict)

    @property
    def changed(self) -> bool:
        """Whether it ends otherwise than under the rules that are in force."""
        return self.ends != (self.built_in if self.configured is None else self.configured)


@dataclass(frozen=True, slots=True)
class Trial:
    """Rules that are tried, and those they are compared with."""

    rule: EligibilityRule
    tried: SiteRules
    configured: SiteRules | None

    def series_of(self, study: StudyManifest, peer: str) -> list[TriedSeries]:
        """Every series of a study, in its order. Raises ``OSError`` where the storage fails.

        ``peer``: calling AE title of the sender, empty where it is not known.
        """
        configured = self.configured or BUILT_IN_ALONE
        judged = read_series(study, self.rule, self.tried.tags | configured.tags)
        now, built_in, before = (
            choose_among(judged, rules, peer).verdicts for rules in (self.tried, BUILT_IN_ALONE, configured)
        )
        uid = study.study_instance_uid or "(no study UID)"
        return [
            TriedSeries(uid, verdict, _end(plain), _end(other) if self.configured else None)
            for verdict, plain, other in zip(now, built_in, before, strict=True)
        ]


def _end(verdict: SeriesVerdict) -> str:
    if verdict.taken:
        return "taken"
    sentence = f": {verdict.reason.text}" if verdict.reason.code is ReasonCode.REFUSED_BY_SITE else ""
    return f"{verdict.reason.code.value}{sentence}"


def print_table(series: Sequence[TriedSeries]) -> None:
    """Print a row for each series."""
    from rich.box import SIMPLE
    from rich.markup import escape
    from rich.table import Table

    from neurotriage.cli.tables import print_whole

    configured = any(item.configured is not None for item in series)
    headings = ("study", "series", "decided by", "ends as", "by", BUILT_IN)
    table = Table(*headings, *(["configured"] if configured else []), "changed", box=SIMPLE)
    for item in series:
        verdict = item.verdict
        cells = (
            item.study,
            f"{verdict.modality or '?'} {verdict.description or '(no description)'}",
            item.decided_by,
            item.ends,
            verdict.evidence,
            item.built_in,
            *([item.configured or ""] if configured else []),
            "yes" if item.changed else "",
        )
        table.add_row(*map(escape, cells))
    print_whole(table)
