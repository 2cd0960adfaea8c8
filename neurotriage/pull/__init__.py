"""Fetches listed studies from an archive: C-FIND with C-MOVE or C-GET, or QIDO-RS with WADO-RS."""
