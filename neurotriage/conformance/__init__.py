"""The DICOM conformance statement, made from the running configuration and the code's own tables."""

from neurotriage.conformance.statement import statement

__all__ = ["statement"]
