"""The kinds of result object, one file for each."""
