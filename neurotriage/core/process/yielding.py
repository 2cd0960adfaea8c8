"""Who gives way on a busy processor."""

import os
from typing import Final

# Against another process of priority 0 it still gets a tenth of a core (sched(7): 110 to 1024). Where the
# system groups processes by session, that holds between a listener and its ingester; the latter in a low
# session of its own would be starved by whatever else the host does.
_NICE: Final = 10


def give_way() -> None:
    """Let this process, and the children that it starts, run after those that receive.

    For work that can wait for a moment: a sender cannot, for it is answered when its image is durable.
    """
    os.nice(_NICE)
