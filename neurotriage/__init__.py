"""neurotriage: an open head-imaging triage worker (research software, not for diagnosis)."""

__version__ = "0.1.0"
