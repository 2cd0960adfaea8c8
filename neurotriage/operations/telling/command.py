"""Alarms by a program of the site: it gets the message as JSON on its standard input."""

import os
import shutil
import signal
import subprocess
from contextlib import suppress
from typing import Final

from neurotriage.core.settings import CommandSettings
from neurotriage.operations.telling.channel import ChannelFailed
from neurotriage.operations.telling.message import Message, to_json

_PASSED_ON: Final = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


class Command:
    """``[alarms.command]``; exit code 0 means that it was taken. After ``limit_s`` it is killed."""

    name = "command"

    def __init__(self, settings: CommandSettings, limit_s: float) -> None:
        self._argv, self._limit_s = settings.argv, limit_s

    def send(self, message: Message) -> None:
        """Run it once, without a shell, in a session of its own; what it prints is not kept.

        Of our environment, which may hold passwords, it gets ``_PASSED_ON`` alone.
        """
        try:
            process = subprocess.Popen(
                self._argv,
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
                env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            )
        except OSError as error:
            raise ChannelFailed(f"{self._argv[0]}: {error.strerror}") from error
        try:
            process.communicate(to_json(message), timeout=self._limit_s)
        except subprocess.TimeoutExpired:
            raise ChannelFailed(f"{self._argv[0]} did not end within {self._limit_s:g} s") from None
        finally:
            _end(process)
        if process.returncode:
            raise ChannelFailed(f"{self._argv[0]} ended with {process.returncode}")

    def check(self) -> str:
        """Whether there is such a program that our user may run."""
        found = shutil.which(self._argv[0])
        if found is None:
            raise ChannelFailed(f"{self._argv[0]}: no program that our user may run")
        return f"{found} can be run"


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Kill it, with what it started, where it has not ended."""
    if process.poll() is None:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
