"""Tests of the text beside the results."""
