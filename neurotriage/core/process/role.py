"""The roles of workers."""

from enum import StrEnum


class Role(StrEnum):
    """The work of a worker; its queue has the same name."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"
    SUMMARY = "summary"
