"""Slices, volumes and series as they are read from manifests."""
