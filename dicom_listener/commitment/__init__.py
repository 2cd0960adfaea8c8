"""Storage commitment as its SCP, behind the listener: what is committed, and the reports (PS3.4 annex J)."""
