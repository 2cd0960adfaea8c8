"""From received instances to the rows of an analysis."""
