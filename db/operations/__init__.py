"""What an operator asks of the tables: read-only, in few queries with an index behind each."""
