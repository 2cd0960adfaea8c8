"""The kinds of result object, a module for each."""
