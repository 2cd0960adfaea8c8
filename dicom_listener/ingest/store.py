"""Received bytes from the spool into the store, whole and durable, by the digest of their data set."""

import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from dicom_listener.spool import ReceivedInstance, received
from neurotriage.core.storage import Storage, make_private, sync_folder

log = structlog.get_logger()


def keep(instances: Iterable[tuple[ReceivedInstance, str]], storage: Storage) -> None:
    """Link instances into the store, each under its digest, durably. Done again, it changes nothing.

    Raises ``OSError``, also where only some could be kept.
    """
    changed: set[Path] = set()
    for instance, digest in instances:
        changed |= _link(instance, storage.stored_instance(digest))
    for folder in changed:
        sync_folder(folder)


def _link(instance: ReceivedInstance, place: Path) -> set[Path]:
    """The folders to sync for it."""
    changed = {place.parent}
    if not place.parent.is_dir():
        make_private(place.parent)
        changed.add(place.parent.parent)
    try:
        place.hardlink_to(instance.path)
    except FileExistsError:
        if received(place).reception.size_bytes != instance.reception.size_bytes:
            # The same digest but not the same length: what lies there is damaged.
            log.error("damaged_file_replaced", name=place.name)
            fresh = place.with_name(f".{instance.name}.{os.getpid()}")
            fresh.hardlink_to(instance.path)
            fresh.replace(place)
    return changed
