"""Results to their destinations: one association per study, one sender per destination, and a proof."""

from worker.delivery.address import address_of
from worker.delivery.deliver import deliver

__all__ = ["address_of", "deliver"]
