"""What stands outside the product in a measurement: senders, other receivers, the system's own books."""
