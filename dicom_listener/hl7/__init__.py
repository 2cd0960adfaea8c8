"""HL7 messages that say that two patients are one, taken from a folder."""
