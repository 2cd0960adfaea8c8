"""The images of a series, by their headers, to the stacks that are analysed."""
