"""What a process of ours does."""

from enum import StrEnum


class Role(StrEnum):
    """What a worker does; its queue bears the same name."""

    ANALYSIS = "analysis"
    DELIVERY = "delivery"
