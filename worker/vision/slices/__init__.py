"""From stored slices to the network's input, and what is measured on them: sections, positions, coverage."""
