"""The base of the embedded servers: start until they answer, stop, kill, remove."""

import shutil
import signal
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Final, Self

from neurotriage.core.errors import Unavailable
from neurotriage.embedded.process import end, free_port, kept_password, log_tail

_POLL_S: Final = 0.05
_RETRY_S: Final = 0.3


def _never() -> bool:
    return False


class EmbeddedServer(ABC):
    """A server on a loopback port whose data and password lie in ``home``."""

    name: ClassVar[str]
    polite: ClassVar[signal.Signals]  # asks it to stop in good order
    start_deadline_s: float
    stop_grace_s: float

    def __init__(self, home: Path, *, durable: bool) -> None:
        self._home = home
        self._durable = durable
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None
        self._wanted = False

    @property
    def log(self) -> Path:
        return self._home / f"{self.name.lower()}.log"

    @property
    def pid(self) -> int | None:
        """The process id of the server; None while it does not run."""
        return self._process.pid if self._process else None

    @property
    def ended_by_itself(self) -> bool:
        """Whether it was started, was not stopped since, and does not run."""
        return self._wanted and (self._process is None or self._process.poll() is not None)

    def start(self, port: int | None = None) -> str:
        """Start the server and return its URL.

        Without ``port``, on the port of the last start, or else on a free one. Call it from the main thread:
        the server stops with the thread that started it. Raises ``Unavailable`` with the end of the server's
        log.
        """
        self._require_ended()
        self._make_home()
        password = kept_password(self._password_file)
        self._prepare()
        return self._run(port or self._port, password)

    def start_again(self, stopping: Callable[[], bool] = _never) -> str:
        """Start a server that ended, with its data and on its port; nothing is created or deleted.

        It may have ended *because* its folder went away, and the folder may come back, as of a disk that is
        mounted again. Once ``stopping()`` is true, waiting for it ends. Raises ``Unavailable`` then, and if
        the data are gone.
        """
        self._require_ended()
        gone = [path for path in self._kept() if not path.exists()]
        if gone:
            raise Unavailable(f"the data of the embedded {self.name} are gone: there is no {gone[0]}")
        return self._run(self._port, self._password_file.read_text(), stopping)

    def stop(self) -> None:
        """Stop in good order: all data are written."""
        self._wanted = False
        self._end()

    def kill(self) -> None:
        """Kill the server (SIGKILL)."""
        self._wanted = False
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def remove(self) -> None:
        """Stop the server and delete its data."""
        self.stop()
        shutil.rmtree(self._home, ignore_errors=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def _password_file(self) -> Path:
        return self._home / "password"

    def _require_ended(self) -> None:
        if self._process and self._process.poll() is None:
            raise Unavailable(f"the embedded {self.name} runs already")

    def _run(self, port: int | None, password: str, stopping: Callable[[], bool] = _never) -> str:
        self._port = self._launch(port, password, stopping)
        self._wanted = True
        return self._url(self._port, password)

    def _end(self) -> None:
        if self._process:
            end(self._process, self.polite, self.stop_grace_s)
            self._process = None

    def _launch(self, port: int | None, password: str, stopping: Callable[[], bool]) -> int:
        """Start it until it answers: the port may be taken, and children of a killed server end late."""
        deadline = time.monotonic() + self.start_deadline_s

        def waiting() -> bool:
            return time.monotonic() < deadline and not stopping()

        while waiting():
            tried = port or free_port()
            self._process = self._spawn(tried, password)
            try:
                ready = self._ready(self._process, tried, password, waiting)
            except BaseException:  # Ctrl-C while we wait
                self._end()
                raise
            if ready:
                return tried
            self._end()
            time.sleep(_RETRY_S)
        raise Unavailable(f"the embedded {self.name} does not start ({self.log}):\n{log_tail(self.log)}")

    def _ready(
        self, process: subprocess.Popen[bytes], port: int, password: str, waiting: Callable[[], bool]
    ) -> bool:
        """Wait until the server answers; False if it ends, or waiting ends."""
        while process.poll() is None and waiting():
            if self._answers(port, password):
                return process.poll() is None
            time.sleep(_POLL_S)
        return False

    def _make_home(self) -> None:
        """The folder, for us alone."""
        self._home.mkdir(parents=True, exist_ok=True)
        self._home.chmod(0o700)

    @abstractmethod
    def _prepare(self) -> None:
        """Make what the server needs before it starts."""

    @abstractmethod
    def _kept(self) -> tuple[Path, ...]:
        """Files that the first start leaves and every later start needs."""

    @abstractmethod
    def _spawn(self, port: int, password: str) -> subprocess.Popen[bytes]: ...

    @abstractmethod
    def _answers(self, port: int, password: str) -> bool:
        """Whether it accepts our password and has what we need; False while it is starting."""

    @abstractmethod
    def _url(self, port: int, password: str) -> str: ...
