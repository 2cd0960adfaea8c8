"""STOW-RS as origin server (PS3.18 10.5): an instance is durable before the answer says so."""
