"""Rendering: slices, overlays, the summary page and the one-page PDF."""
