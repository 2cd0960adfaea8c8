"""Sends results to their destinations and proves that they are stored there.

One association per study; one process at a time sends to a destination.
"""

from worker.delivery.address import address_of
from worker.delivery.deliver import deliver

__all__ = ["address_of", "deliver"]
