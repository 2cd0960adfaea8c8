"""Associations: who may send what, within which limits, and the answer that an instance is durable."""
