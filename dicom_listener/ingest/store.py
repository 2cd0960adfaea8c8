"""Moves received files from the spool into the store, under the digest of their data set."""

import os
from collections.abc import Iterable
from pathlib import Path

import structlog

from dicom_listener.spool import ReceivedInstance, read_received
from neurotriage.core.storage import Storage, make_private, sync_folder

log = structlog.get_logger()


def link_into_store(instances: Iterable[tuple[ReceivedInstance, str]], storage: Storage) -> None:
    """Hard-link spooled instances into the store, each under its digest, durably. Idempotent.

    Raises ``OSError`` where any fails; others may have been linked.
    """
    changed: set[Path] = set()
    for instance, digest in instances:
        changed |= _link(instance, storage.stored_instance(digest))
    for folder in changed:
        sync_folder(folder)


def _link(instance: ReceivedInstance, place: Path) -> set[Path]:
    """Link one instance; the folders to sync."""
    changed = {place.parent}
    if not place.parent.is_dir():
        make_private(place.parent)
        changed.add(place.parent.parent)
    try:
        place.hardlink_to(instance.path)
    except FileExistsError:
        if read_received(place).reception.size_bytes != instance.reception.size_bytes:
            # The same digest, another length: the stored file is damaged.
            log.error("damaged_file_replaced", name=place.name)
            fresh = place.with_name(f".{instance.name}.{os.getpid()}")
            fresh.hardlink_to(instance.path)
            fresh.replace(place)
    return changed
