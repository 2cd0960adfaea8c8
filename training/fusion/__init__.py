"""The network that judges CT and MR together, from its pairs to its card."""
