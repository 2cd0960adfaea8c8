"""The eligibility rule of the release."""

from typing import Final

from neurotriage.core.settings import WorkerSettings
from worker.vision import read_registry

RULE: Final = read_registry(WorkerSettings().weights).eligibility
