"""Result objects into the storage, with the addresses that they are to be sent to."""

from collections.abc import Iterable

from db.studies.objects import WrittenObject
from neurotriage.core.settings import Destination
from neurotriage.core.storage import Storage, write_durably
from neurotriage.core.values import Analysis, ResultObject
from worker.delivery import address_of
from worker.routing import wanted


def addresses_of(
    destinations: Iterable[Destination], analysis: Analysis, result: ResultObject, sender: tuple[str, str]
) -> tuple[str, ...]:
    """Where an object goes; ``sender``: title and host of the peer that the study came from."""
    return tuple(address_of(d, sender) for d in destinations if wanted(d, analysis, result))


def keep(
    storage: Storage,
    revision_id: int,
    result: ResultObject,
    addresses: tuple[str, ...],
    destinations: Iterable[Destination] = (),
) -> WrittenObject:
    """Write an object durably, before any row refers to it; it is held for those that say ``hold``."""
    path = storage.result(revision_id, result.sop_instance_uid)
    write_durably(path, result.data)
    holding = {destination.name for destination in destinations if destination.hold}
    held = frozenset(address for address in addresses if address.partition("/")[0] in holding)
    return WrittenObject(result, path.relative_to(storage.root), addresses, held)
