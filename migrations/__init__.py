"""Alembic revisions, each reversible."""
