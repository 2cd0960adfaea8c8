"""How the services are installed on this host: their user, who reads what, limits, clock and units."""

import ctypes
import os
import pwd
import re
import resource
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydantic import BaseModel

from deploy import SYSTEMD
from dicom_listener.admission.places import HANDSHAKES, SPARE_CONNECTIONS, STRANGER_CONNECTIONS
from neurotriage.core.settings import Settings, config_file
from neurotriage.doctor.check import Check, failed, ok, warning

UNITS: Final = Path("/etc/systemd/system")
# Settings that name files with something secret in them.
_SECRETS: Final = ("key", "key_password_file", "key_file", "password_file", "token_file")
_PASSWORD: Final = re.compile(r"://[^:@/\s]*:[^@\s]+@")
_OTHERS: Final = stat.S_IRWXO
_WRITE: Final = stat.S_IWGRP | stat.S_IWOTH
# Of the process itself: libraries, logs, spool, database, broker.
_OWN_FILES: Final = 64
_TIME_ERROR: Final = 5  # adjtimex(2): the clock is not synchronised
_TIMEX_BYTES: Final = 512  # struct timex is smaller on every platform


def look_at_installation(settings: Settings, units: Path = UNITS) -> Iterator[Check]:
    """What the services of this host need beside their configuration; to be asked as their user."""
    yield _user(os.geteuid())
    yield _config(config_file())
    yield _secrets(settings)
    yield _open_files(settings, resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    yield _clock(_clock_state())
    yield _units(settings, units)


def _user(uid: int) -> Check:
    if uid == 0:
        advice = (
            f"Run services and doctor as a user of their own; {SYSTEMD}/neurotriage.sysusers.conf makes one."
        )
        return failed("user", "this is root: a fault in what reads a peer's bytes would own the host", advice)
    try:
        name = pwd.getpwuid(uid).pw_name
    except KeyError:  # a container's
        name = "without a name"
    return ok("user", f"{name} ({uid}), not root")


def _config(file: Path) -> Check:
    if not file.is_file():
        return ok("config file", "there is none: the environment alone")
    mode = file.stat().st_mode
    if mode & _WRITE:
        advice = f"Run `chmod go-w {file}`: it decides who may send and where results go."
        return failed("config file", f"others than its owner may write {file}", advice)
    if mode & _OTHERS and _PASSWORD.search(file.read_text(encoding="utf-8")):
        advice = f"Run `chmod o= {file}`, or set what holds it in the environment of the services."
        return failed("config file", f"everybody on this host may read the password in {file}", advice)
    return ok("config file", f"{file} can be changed by its owner alone")


def _secrets(settings: Settings) -> Check:
    files = sorted(set(_named(settings)))
    unreadable = [str(file) for file in files if not os.access(file, os.R_OK)]
    if unreadable:
        advice = "Create them, or give the service's user the right to read them: `chgrp` and `chmod 0640`."
        return failed("secrets", f"cannot be read by our user: {', '.join(unreadable)}", advice)
    open_files = [str(file) for file in files if file.stat().st_mode & (_OTHERS | stat.S_IWGRP)]
    if open_files:
        advice = f"Run `chmod g-w,o= {' '.join(open_files)}`: keys and tokens are for the service alone."
        return failed("secrets", f"others on this host may use {', '.join(open_files)}", advice)
    return ok("secrets", f"{len(files)} files with keys, passwords or tokens, closed to others")


def _named(value: object) -> Iterator[Path]:
    """The files with secrets that a part of the configuration names."""
    if isinstance(value, tuple):
        for item in value:
            yield from _named(item)
    elif isinstance(value, BaseModel):
        for name in type(value).model_fields:
            held = getattr(value, name)
            if isinstance(held, Path) and name in _SECRETS:
                yield held
            yield from _named(held)


def _open_files(settings: Settings, limit: int) -> Check:
    # A data set that comes has a file beside its connection.
    connections = (
        2 * settings.listener.max_associations + SPARE_CONNECTIONS + STRANGER_CONNECTIONS + HANDSHAKES
    )
    needed = connections + _OWN_FILES
    if limit != resource.RLIM_INFINITY and limit < needed:
        advice = f"Raise it (`LimitNOFILE=` of a unit, `ulimit -n`) to {needed} or more."
        return failed("open files", f"{limit} at once; the listener may need {needed}", advice)
    shown = "without a limit" if limit == resource.RLIM_INFINITY else f"{limit} at once"
    return ok("open files", f"{shown} for what is started from here; the listener may need {needed}")


def _clock_state() -> int:
    """The state of the kernel's clock by adjtimex(2), which changes nothing here; -1: it cannot be told."""
    try:
        return int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
    except (OSError, AttributeError):
        return -1


def _clock(state: int) -> Check:
    if state < 0:
        return warning("clock", "whether it is synchronised cannot be told here", "Look on the host itself.")
    if state == _TIME_ERROR:
        advice = "Let chrony or systemd-timesyncd keep it: leases, times and certificates go by it."
        return warning("clock", "the kernel says that nobody synchronises it", advice)
    return ok("clock", "synchronised, says the kernel")


def _units(settings: Settings, folder: Path) -> Check:
    names = ["neurotriage.target", "neurotriage-listen.service", "neurotriage-work@.service"]
    names += ["neurotriage-stow.service"] if settings.stow is not None else []
    names += ["neurotriage-metrics.service"] if settings.metrics is not None else []
    names += ["neurotriage-watch.service"] if settings.alarms is not None else []
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        advice = f"Copy them from {SYSTEMD} (docs/admin.md), unless something else runs the services."
        return warning("units", f"not in {folder}: {', '.join(missing)}", advice)
    other = [name for name in names if (folder / name).read_bytes() != (SYSTEMD / name).read_bytes()]
    if other:
        advice = f"Copy those of {SYSTEMD}, and keep what is your own in drop-ins (`systemctl edit`)."
        return warning("units", f"not those of this version: {', '.join(other)}", advice)
    return ok("units", f"{len(names)} in {folder}, as this version ships them")
