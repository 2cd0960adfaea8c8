"""A study from received instances over frozen revisions to the rows of its analysis."""
