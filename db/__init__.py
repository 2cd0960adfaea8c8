"""Postgres, the truth: tables, states and the compare-and-set moves between them."""
