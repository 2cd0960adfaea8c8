"""Synthetic masses and their mimics in CT slices and series of other people."""
