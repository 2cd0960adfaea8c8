"""The analysis of a study whose attempts are used up: made of its headers alone.

It must not need what may have stopped the attempts before, so it reads no weights and decodes nothing.
"""

from datetime import datetime

from neurotriage import __version__
from neurotriage.core.values import Analysis, Outcome, Reason, ReasonCode, StudyManifest, Triage
from worker.selection import describe


def exhausted(manifest: StudyManifest, attempts: int, at: datetime) -> Analysis:
    """An analysis that ends ``failed`` after so many attempts. Never raises for bad input."""
    text = f"the analysis failed {attempts} times; the log and the revision's last error say why"
    reason = Reason(ReasonCode.ATTEMPTS_EXHAUSTED, text)
    return Analysis(
        study_instance_uid=manifest.study_instance_uid,
        revision=manifest.revision,
        analysed_at=at,
        outcome=Outcome.FAILED,
        triage=Triage.NONE,
        reasons=(reason,),
        verdicts=describe(manifest, reason),
        predictions=(),
        findings=(),
        series=(),
        input_digest=manifest.digest,
        software_version=__version__,
    )
