"""This host: configuration, disk and model weights."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Final

from neurotriage.core.settings import AE_TITLE, ConfigurationError, Settings, config_file
from neurotriage.core.storage import Storage, write_durably
from neurotriage.doctor.check import Check, failed, ok, warning

# Each received instance waits for about two durable writes; a modality sends tens of instances a second.
_SLOW_SYNC_S: Final = 0.25
_MAX_ENTRIES: Final = 10_000  # a folder's further entries are not checked
_GIB: Final = 1024**3


def look_at_configuration(settings: Settings) -> Iterator[Check]:
    """The settings: AE titles, encryption, who may send, and where results go."""
    file = config_file()
    yield ok("file", f"{file} and the environment" if file.is_file() else f"no {file}: the environment alone")
    titles = {"[listener]": settings.listener.ae_title}
    titles |= {f"[[destination]] {d.name}": d.ae_title for d in settings.destination if d.ae_title}
    wrong = [f"{place} {title!r}" for place, title in titles.items() if not AE_TITLE.fullmatch(title)]
    if wrong:
        yield failed(
            "AE titles",
            f"not allowed: {', '.join(wrong)}",
            "An AE title has 1 to 16 characters of ASCII, without backslash (PS3.5 6.2).",
        )
    else:
        yield ok("AE titles", f"we are {settings.listener.ae_title}")
    yield _senders(settings)
    yield _destinations(settings)
    yield _rules(settings)


def _rules(settings: Settings) -> Check:
    from worker.selection import read_rules  # numpy and pydicom take time to import

    try:
        rules = read_rules(settings.selection.rules)
    except ConfigurationError as error:
        advice = "Correct the file; `neurotriage rules check FILE` tells when it is right."
        return failed("rules", str(error), advice)
    if settings.selection.rules is None:
        return ok("rules", "the built-in ones alone choose the series")
    return ok("rules", f"{settings.selection.rules}: {len(rules.rules)}, SHA-256 {rules.sha256[:12]}")


def _senders(settings: Settings) -> Check:
    if settings.peer:
        return ok("peers", f"{len(settings.peer)} may send")
    if settings.listener.is_loopback:
        return warning(
            "peers", "only this host may send", "Set [listener] host and add a [[peer]] per sender."
        )
    return failed("peers", "nobody may send", "Add a [[peer]] with AE title and address of each sender.")


def _destinations(settings: Settings) -> Check:
    names = [destination.name for destination in settings.destination]
    if not names:
        return warning("destinations", "none: results stay here", "Add a [[destination]] for the PACS.")
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        return failed("destinations", f"named twice: {', '.join(twice)}", "Give each a name of its own.")
    return ok("destinations", ", ".join(names))


def look_at_storage(settings: Settings) -> Iterator[Check]:
    """The storage folder: free space, access rights, and the time of a durable write."""
    root = settings.storage.root
    if not root.is_dir():
        yield failed(
            "folder",
            f"{root} is not there",
            "Create it, and give it to the user that runs neurotriage; every role needs the same folder.",
        )
        return
    yield _room(Storage(root).free_bytes(), settings.storage.min_free_bytes)
    yield _durable_write(root)
    yield _private(Storage(root))
    yield _readable(Storage(root))


def _private(storage: Storage) -> Check:
    opened = storage.open_to_others()
    if opened:
        return failed(
            "privacy",
            f"others on this host may look into {', '.join(map(str, opened))}",
            f"Run `chmod -R go= {storage.root}` as its user, or restart the services: they shut it.",
        )
    return ok("privacy", "nobody but its own user may look in")


def _readable(storage: Storage) -> Check:
    """Whether this user can read the newest files: whoever analyses and sends must read what was received."""
    for folder in storage.folders():
        for place in _newest(folder):
            if not os.access(place, os.R_OK) and place.exists():
                owner = place.stat().st_uid
                return failed(
                    "readable",
                    f"{place} belongs to user {owner} and cannot be read by ours ({os.geteuid()})",
                    "Run every service as the same user, and give it what lies there: `chown -R`.",
                )
    return ok("readable", "our user can read what lies there")


def _newest(folder: Path) -> Iterator[Path]:
    """A folder and its latest change, down to a file; stops early where an entry vanishes meanwhile."""
    yield folder
    newest, changed_ns = None, -1
    with suppress(OSError), os.scandir(folder) as entries:
        for entry in islice(entries, _MAX_ENTRIES):
            if entry.stat().st_mtime_ns > changed_ns:
                newest, changed_ns = Path(entry.path), entry.stat().st_mtime_ns
    if newest is not None:
        yield from _newest(newest) if newest.is_dir() else [newest]


def _room(free_bytes: int, limit_bytes: int) -> Check:
    text = f"{free_bytes / _GIB:.1f} GiB free, the limit is {limit_bytes / _GIB:.1f} GiB"
    if free_bytes < limit_bytes:
        return failed("room", text, "Make room: every C-STORE is answered 0xA700 (out of resources).")
    if free_bytes < 2 * limit_bytes:
        return warning("room", text, "Make room soon: below the limit every C-STORE is answered 0xA700.")
    return ok("room", text)


def _durable_write(root: Path) -> Check:
    probe = root / f"doctor-{os.getpid()}"
    begun = time.monotonic()
    try:
        write_durably(probe, bytes(4096))
    except OSError as error:
        advice = "Let the user that runs neurotriage write there; the file system must support fsync."
        return failed("durable write", f"{error.strerror} in {root}", advice)
    finally:
        probe.unlink(missing_ok=True)
    spent_s = time.monotonic() - begun
    text = f"written, synchronised and renamed in {1000 * spent_s:.0f} ms"
    if spent_s > _SLOW_SYNC_S:
        return warning("durable write", text, "Use a faster disk: every instance received waits for this.")
    return ok("durable write", text)


def look_at_weights(settings: Settings) -> Iterator[Check]:
    """The weights: hashes, then every model loaded on its engine, as an analysis process would."""
    from worker.vision import BadWeights, models_for, read_registry  # torch takes seconds to import

    try:
        registry = read_registry(settings.worker.weights)
        registry.verify_all()
        yield ok("hashes", ", ".join(f"{card.name} {card.version}" for card in registry.cards.values()))
        measured = Storage(settings.storage.root).engines
        # To measure takes all cores for a while, and other checks wait for an answer meanwhile.
        models = models_for(settings.worker, registry, measured if measured.is_dir() else None)
        for modality in sorted(models.cards):
            model = models.required(modality)
            if model.note:
                advice = "Correct [worker] engine, or make what it lacks; until then each result says so too."
                yield warning(f"{modality} engine", model.note, advice)
            yield ok(f"{modality} model", "loads")
    except BadWeights as error:
        yield failed(
            "weights", str(error), "Restore the weights of the release, or correct [worker] weights."
        )
