"""Reads headers of spooled files, records and stores them, and quarantines those that are unusable."""
