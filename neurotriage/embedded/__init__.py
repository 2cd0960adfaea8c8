"""Postgres and Valkey from wheels, so that a host needs neither installed."""

from neurotriage.embedded.postgres import EmbeddedPostgres
from neurotriage.embedded.valkey import EmbeddedValkey

__all__ = ["EmbeddedPostgres", "EmbeddedValkey"]
