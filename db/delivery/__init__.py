"""What is sent to which destination, by whom, and whether it arrived."""
