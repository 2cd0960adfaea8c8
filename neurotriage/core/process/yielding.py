"""Who gives way on a busy processor."""

import os
from typing import Final

# Against another process of priority 0 it still gets a quarter of a core (sched(7): 335 to 1024).
_NICE: Final = 5


def give_way() -> None:
    """Let this process, and the children that it starts, run after those that receive.

    For work that can wait for a moment: a sender cannot, for it is answered when its image is durable.
    """
    os.nice(_NICE)
