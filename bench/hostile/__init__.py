"""The listener among connections that hold on to it, and messages that are not as they should be."""
