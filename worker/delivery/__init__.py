"""Results to their destinations: one association per study, one sender per destination."""

from worker.delivery.deliver import deliver

__all__ = ["deliver"]
