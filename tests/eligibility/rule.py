"""The eligibility rule of the release."""

from typing import Final

from neurotriage.core.settings import WorkerSettings
from worker.vision.registry.rule import read_eligibility

RULE: Final = read_eligibility(WorkerSettings().weights)
