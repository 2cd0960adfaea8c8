"""Alarms told to people: what is due to be told, the message, and the channels that carry it."""
