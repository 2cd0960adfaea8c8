"""Runs a command within the system calls, socket families and mappings that a unit allows, without systemd.

``python -m tests.deploy.sandbox UNIT COMMAND...`` so shows, where no systemd runs, what a library needs.
"""

import ctypes
import errno
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.deploy.units import values

_ALLOW: Final = 0x7FFF0000  # seccomp.h
_ERRNO: Final = 0x00050000
_EQUAL: Final = 4
_NO_SUCH_CALL: Final = -1
_FAMILIES: Final = 46  # AF_MAX of linux/socket.h
_PR_SET_NO_NEW_PRIVS: Final = 38  # linux/prctl.h
_PR_SET_MDWE: Final = 65
_PR_MDWE_REFUSE_EXEC_GAIN: Final = 1


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("value", ctypes.c_uint64),
        ("mask", ctypes.c_uint64),
    )


def calls_of(group: str) -> Iterator[str]:
    """The system calls of a group such as ``@system-service``, with those of the groups in it."""
    told = subprocess.run(
        ["systemd-analyze", "syscall-filter", "--no-pager", group], capture_output=True, text=True, check=True
    )
    for line in told.stdout.splitlines():
        word = line.split("#")[0].strip()
        if word.startswith("@") and word != group:
            yield from calls_of(word)
        elif word and word != group:
            yield word


def allowed_calls(unit: Path) -> set[str]:
    """What the unit's ``SystemCallFilter`` leaves, an allow list with what is taken from it."""
    allowed = set(calls_of("@default"))  # systemd adds these to every allow list
    for line in values(unit, "SystemCallFilter"):
        for word in line.removeprefix("~").split():
            calls = set(calls_of(word)) if word.startswith("@") else {word}
            allowed = allowed - calls if line.startswith("~") else allowed | calls
    return allowed | {"execve", "exit", "exit_group"}


def confine(unit: Path) -> None:
    """Give this process, for good, the limits of a unit. Raises ``OSError`` where the kernel cannot."""
    calls = allowed_calls(unit)  # asked before nothing may be asked any more
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "PR_SET_NO_NEW_PRIVS")
    if values(unit, "MemoryDenyWriteExecute") == ["yes"] and libc.prctl(
        _PR_SET_MDWE, _PR_MDWE_REFUSE_EXEC_GAIN, 0, 0, 0
    ):
        raise OSError(ctypes.get_errno(), "PR_SET_MDWE needs Linux 6.3")
    seccomp = ctypes.CDLL("libseccomp.so.2")
    seccomp.seccomp_init.restype = ctypes.c_void_p
    _restrict_sockets(
        seccomp, {getattr(socket, name) for name in values(unit, "RestrictAddressFamilies")[0].split()}
    )
    _restrict_calls(seccomp, calls)


def _restrict_sockets(seccomp: ctypes.CDLL, allowed: set[int]) -> None:
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ALLOW)))
    call = seccomp.seccomp_syscall_resolve_name(b"socket")
    for family in set(range(_FAMILIES)) - allowed:
        wanted = _Comparison(0, _EQUAL, family, 0)
        action = ctypes.c_uint32(_ERRNO | errno.EAFNOSUPPORT)
        _checked(seccomp.seccomp_rule_add_array(rules, action, call, 1, ctypes.byref(wanted)))
    _checked(seccomp.seccomp_load(rules))


def _restrict_calls(seccomp: ctypes.CDLL, allowed: set[str]) -> None:
    rules = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    for name in allowed:
        call = seccomp.seccomp_syscall_resolve_name(name.encode())
        if call > _NO_SUCH_CALL:  # others are of other processors
            _checked(seccomp.seccomp_rule_add_array(rules, ctypes.c_uint32(_ALLOW), call, 0, None))
    _checked(seccomp.seccomp_load(rules))


def _checked(code: int) -> None:
    if code:
        raise OSError(-code, f"seccomp: {os.strerror(-code)}")


if __name__ == "__main__":
    confine(Path(sys.argv[1]))
    os.execvp(sys.argv[2], sys.argv[2:])  # noqa: S606 - no shell is wanted
