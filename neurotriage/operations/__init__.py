"""How the installation stands: facts of tables and disk, and the snapshot that is made of them.

Whoever shows the snapshot, or tells its alarms, renders it for itself.
"""

from neurotriage.operations.reading import gather, wanted
from neurotriage.operations.snapshot import make_snapshot
from neurotriage.operations.values import Alarm, Snapshot

__all__ = ["Alarm", "Snapshot", "gather", "make_snapshot", "wanted"]
