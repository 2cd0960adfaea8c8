"""Who may send, and how much."""
