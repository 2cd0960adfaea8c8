"""From stored slices to what a network takes, and what slices say of themselves: place, section, order."""
