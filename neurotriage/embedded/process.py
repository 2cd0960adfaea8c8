"""Servers as child processes that never outlive their parent."""

import ctypes
import os
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

LOOPBACK: Final = "127.0.0.1"

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LOG_TAIL_BYTES: Final = 2000


def free_port() -> int:
    """A TCP port of the loopback address that was free a moment ago (another process may take it)."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def spawn(
    arguments: Sequence[str | Path],
    log: Path,
    *,
    cwd: Path,
    death_signal: signal.Signals,
    uid: int | None = None,
    environment: Mapping[str, str] | None = None,
) -> subprocess.Popen[bytes]:
    """Start a server in a session of its own, so that Ctrl-C in the terminal reaches us and not it.

    On Linux, the kernel sends ``death_signal`` when the *thread* that called this ends, however it ends: call
    it from the main thread. The output goes to ``log``, never to a pipe: a
    server's children would hold the pipe open. ``uid``: run as this user and group.
    """
    with log.open("ab") as output:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=cwd,
            env=environment,
            start_new_session=True,
            # Runs after the change of user, which would clear the setting.
            preexec_fn=_dying_with_parent(death_signal),
            user=uid,
            group=uid,
            extra_groups=None if uid is None else (),
        )


def _dying_with_parent(death_signal: signal.Signals) -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    prctl = ctypes.CDLL(None).prctl
    parent = os.getpid()

    def ask_the_kernel() -> None:
        prctl(_PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0)
        if os.getppid() != parent:  # it died before we asked
            os._exit(1)

    return ask_the_kernel


def end(process: subprocess.Popen[bytes], polite: signal.Signals, grace_s: float) -> None:
    """Ask a server to stop, and kill it after ``grace_s``. Does nothing if it has ended."""
    if process.poll() is None:
        process.send_signal(polite)
        try:
            process.wait(grace_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait()


def kept_password(path: Path) -> str:
    """The password in ``path``. The first time, one is made and written there, readable by us alone."""
    if not path.exists():
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(secrets.token_urlsafe(24))
    return path.read_text()


def log_tail(log: Path) -> str:
    """The last lines of a server's log, for an error message."""
    try:
        end_of_log = log.read_bytes()[-_LOG_TAIL_BYTES:]
    except OSError:  # never written, or the disk it lies on is gone
        return "(no log)"
    return end_of_log.decode(errors="replace").strip()
