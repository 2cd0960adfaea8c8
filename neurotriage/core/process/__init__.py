"""A running process: its role, log, threads and port, the queue, and the configuration it read."""
