"""The DICOM listener: C-ECHO, C-STORE of every storage SOP class, and storage commitment reports.

One thread serves all connections by their events; files are written, and names of peers resolved, by others.
"""

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Callable, Hashable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Final

import structlog

from dicom_listener.admission.admission import Admission
from dicom_listener.admission.peers import ListedHosts
from dicom_listener.admission.places import Places
from dicom_listener.admission.quotas import Quotas
from dicom_listener.admission.refusals import Refusals
from dicom_listener.admission.tls import (
    HANDSHAKE_DEADLINE_S,
    cause,
    certificate_of,
    is_certificate_of,
)
from dicom_listener.association.commitment import CommitmentRoles
from dicom_listener.association.contexts import supported_contexts, transfer_syntaxes
from dicom_listener.association.libraries import set_up_libraries
from dicom_listener.association.receiving import Unfinished
from dicom_listener.association.upper_layer import BUFFER_BYTES, UpperLayer
from dicom_listener.connection import Connection, Surroundings
from dicom_listener.ports import Port, open_port
from dicom_listener.refused_associations import Refusal, RefusedAssociations
from dicom_listener.spool import AssociationInfo, open_spool
from neurotriage.core.certificates import WARN_DAYS, expiries
from neurotriage.core.errors import Unavailable
from neurotriage.core.settings import ConfigurationError, Settings
from neurotriage.core.storage import Storage

log = structlog.get_logger()

# Files that are written at once; the file system groups their syncs.
_DISK_THREADS: Final = 16
_NAME_THREADS: Final = 4
_WATCH_INTERVAL_S: Final = 0.1
_SAVE_INTERVAL_S: Final = 5.0
_EXPIRY_INTERVAL_S: Final = 86_400.0
# Where no connection can be accepted for lack of file descriptors.
_ACCEPT_PAUSE_S: Final = 0.2
# For A-ABORTs to be sent when the process stops.
_ABORT_S: Final = 1.0
_START_DEADLINE_S: Final = 30.0
_NOT_NAMED: Final = "its address is in no network of this port's `unencrypted`"


class Listener:
    """A DICOM acceptor that answers a C-STORE with 0x0000 once the instance is on stable storage.

    ``name``: of its spool. ``on_echo`` is called for each C-ECHO, on the thread of the loop.
    """

    def __init__(
        self,
        settings: Settings,
        name: str = "main",
        on_echo: Callable[[AssociationInfo], None] = lambda _: None,
    ) -> None:
        self._settings = settings
        self._on_echo = on_echo
        storage = Storage(settings.storage.root)
        self.spool = open_spool(settings.storage, name)
        self._quotas = Quotas(storage.spool(name) / "quotas.json")
        self._hosts = ListedHosts(settings)
        bound = [peer for peer in settings.peer if peer.is_bound_to_a_certificate and not peer.host]
        self._places = Places(
            settings.listener.max_associations, [*self._hosts.hosts, *bound], many_strangers=bool(bound)
        )
        self._ports: list[Port] = []
        self._connections: set[Connection] = set()
        self._serving: set[asyncio.Task[None]] = set()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._buffer = bytearray(BUFFER_BYTES)
        self._around: Surroundings | None = None

    @property
    def accepts(self) -> bool:
        """Whether the thread that accepts connections is alive."""
        return self._thread is not None and self._thread.is_alive()

    @property
    def ports(self) -> list[int]:
        """The port numbers, in the order of the settings."""
        return [int(port.listening.getsockname()[1]) for port in self._ports]

    def start(self) -> int:
        """Delete incomplete files of a crash, then listen; the number of the first port.

        Raises ``Unavailable`` while another process has the spool or the thread does not start, ``OSError``
        where a port is taken, and ``ConfigurationError`` where its certificate cannot be used.
        """
        set_up_libraries()
        leftovers = self.spool.recover()
        try:
            for settings in self._settings.listener.ports:
                self._ports.append(open_port(settings))
        except BaseException:
            self._close_ports()
            self.spool.close()
            raise
        numbers = self.ports  # the thread closes them where it ends at once
        self._hosts.start()
        started = threading.Event()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._serve(started)), name="listener", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_DEADLINE_S):
            self._close_ports()
            self.spool.close()
            raise Unavailable(f"the listener did not start within {_START_DEADLINE_S:g} s")
        listener = self._settings.listener
        log.info(
            "listening",
            ae_title=listener.ae_title,
            host=listener.host,
            port=numbers[0],
            further_ports=numbers[1:],
            encrypted=[number for number, port in zip(numbers, self._ports, strict=True) if port.tls],
            transfer_syntaxes=transfer_syntaxes(),
            incomplete_files_deleted=leftovers,
        )
        return numbers[0]

    def stop(self) -> None:
        """Stop accepting and abort open associations; senders send again what was not answered."""
        if self._thread is None:
            return
        if self._loop is not None and self._stop is not None and self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._thread = None
        self._hosts.close()
        self.spool.close()
        log.info("stopped_listening")

    def _close_ports(self) -> None:
        for port in self._ports:
            port.listening.close()

    async def _serve(self, started: threading.Event) -> None:
        """Serve until ``stop``; the body of the listener's thread."""
        loop = asyncio.get_running_loop()
        self._loop, self._stop = loop, asyncio.Event()
        listener = self._settings.listener
        names = ThreadPoolExecutor(_NAME_THREADS, "peer names")
        with ThreadPoolExecutor(_DISK_THREADS, "disk") as disk:
            self._around = around = Surroundings(
                loop=loop,
                disk=disk,
                names=names,
                spool=self.spool,
                contexts=supported_contexts(commits=listener.storage_commitment),
                commitment=CommitmentRoles.of(self._settings),
                admission=Admission(self._settings, self._quotas, self._hosts),
                quotas=self._quotas,
                unfinished=Unfinished(listener.max_unfinished_bytes),
                refusals=Refusals(lambda noted: disk.submit(self._note_rejected, noted)),
                max_object_bytes=listener.max_object_bytes,
                on_echo=self._on_echo,
                connected=lambda user: self._connected(around, user),
                leave=self._leave,
            )
            tasks = [loop.create_task(self._accept(around, port)) for port in self._ports]
            tasks.append(loop.create_task(self._watch(around)))
            started.set()
            stopped = loop.create_task(self._stop.wait())
            # Where one of them fails, the thread ends, and whoever watches it learns that nobody accepts.
            done, _ = await asyncio.wait([stopped, *tasks], return_when=asyncio.FIRST_COMPLETED)
            for task in (stopped, *tasks):
                task.cancel()
            await self._abort_all(around)
            self._close_ports()
            names.shutdown(wait=False, cancel_futures=True)  # a name server may take its time
            around.refusals.flush()
            self._save_quotas(disk)
            for task in done - {stopped}:
                task.result()

    async def _accept(self, around: Surroundings, port: Port) -> None:
        while True:
            try:
                connection, address = await around.loop.sock_accept(port.listening)
            except OSError as error:
                log.error("cannot_accept", error=error.strerror)
                await asyncio.sleep(_ACCEPT_PAUSE_S)
                continue
            host = str(address[0])
            user = Connection(around, host)
            refused = self._refused(port, user, host)
            if refused is not None:
                around.refusals.add("connection_refused", Refusal.of(refused, host))
                connection.close()
                continue
            task = around.loop.create_task(self._connect(around, port, connection, user))
            self._serving.add(task)
            task.add_done_callback(self._serving.discard)

    def _refused(self, port: Port, user: Connection, host: str) -> str | None:
        """Why a connection is closed before it costs anything."""
        if port.tls is None and not port.takes_plain_from(host):
            return _NOT_NAMED
        return self._places.enter(user, host, self._hosts.host_of(host), in_handshake=port.tls is not None)

    async def _connect(
        self, around: Surroundings, port: Port, connection: socket.socket, user: Connection
    ) -> None:
        listener = self._settings.listener
        layer = UpperLayer(
            user,
            user.peer_host,
            self._buffer,
            idle_s=listener.network_timeout_s,
            progress_s=listener.progress_timeout_s,
            min_bytes_per_s=listener.min_bytes_per_s,
        )
        try:
            if port.tls is None:
                await around.loop.connect_accepted_socket(lambda: layer, connection)
            else:
                await around.loop.connect_accepted_socket(
                    lambda: layer,
                    connection,
                    ssl=port.tls.current(),
                    ssl_handshake_timeout=HANDSHAKE_DEADLINE_S,
                )
        except Exception as error:  # noqa: BLE001 - whatever a peer's bytes lead OpenSSL to
            self._leave(user)
            connection.close()
            around.refusals.add("handshake_failed", Refusal.of(cause(error), user.peer_host))
            return

    def _connected(self, around: Surroundings, user: Connection) -> None:
        """Called before the first byte of the peer is read, which may come with the end of a handshake."""
        self._connections.add(user)
        encrypted: ssl.SSLObject | None = user.layer.transport.get_extra_info("ssl_object")
        refused = self._finish_handshake(user, encrypted) if encrypted is not None else None
        if refused is not None:
            around.refusals.add("connection_refused", Refusal.of(refused, user.peer_host))
            user.layer.close()

    def _finish_handshake(self, user: Connection, encrypted: ssl.SSLObject) -> str | None:
        user.certificate = certificate_of(encrypted)
        bound = (
            peer
            for peer in self._settings.peer
            if peer.is_bound_to_a_certificate and not peer.host and is_certificate_of(peer, user.certificate)
        )
        holder: Hashable | None = next(bound, None) or self._hosts.host_of(user.peer_host)
        return self._places.finish_handshake(user, holder)

    def _tell_expiries(self) -> None:
        """An alarm for each certificate that ends soon or has ended."""
        for port in self._ports:
            tls = port.settings.tls
            try:
                found = expiries(tls.certificate, tls.ca) if tls is not None else []
            except ConfigurationError as error:
                log.error("certificate_unreadable", error=str(error))
                continue
            for expiry in found:
                days = expiry.days_left(datetime.now(UTC))
                if days < WARN_DAYS:
                    log.error(
                        "certificate_ends", file=str(expiry.file), subject=expiry.subject, days=round(days, 1)
                    )

    def _note_rejected(self, noted: RefusedAssociations) -> None:
        try:
            self.spool.note_rejected(noted)
        except OSError as error:
            log.warning("refusals_not_noted", error=error.strerror)

    def _leave(self, user: Hashable) -> None:
        self._places.leave(user)

    async def _watch(self, around: Surroundings) -> None:
        """Hold all connections to their deadlines; tell and save what was counted."""
        save_at = time.monotonic() + _SAVE_INTERVAL_S
        tell_at = time.monotonic()
        saving: Future[None] | None = None
        while True:
            await asyncio.sleep(_WATCH_INTERVAL_S)
            now = time.monotonic()
            self._connections = {user for user in self._connections if not user.layer.is_over}
            for user in self._connections:
                user.layer.watch(now)
            # Nothing is waited for: a disk that hangs must not end the deadlines.
            if now >= save_at and (saving is None or saving.done()):
                save_at = now + _SAVE_INTERVAL_S
                around.refusals.flush()
                saving = self._save_quotas(around.disk)
            if now >= tell_at:
                tell_at = now + _EXPIRY_INTERVAL_S
                around.disk.submit(self._tell_expiries)

    def _save_quotas(self, disk: Executor) -> "Future[None] | None":
        document = self._quotas.unsaved()
        return None if document is None else disk.submit(self._quotas.save, document)

    async def _abort_all(self, around: Surroundings) -> None:
        for task in self._serving:
            task.cancel()
        for user in self._connections:
            user.layer.abort(0)
        end = time.monotonic() + _ABORT_S
        while time.monotonic() < end and not (
            around.unfinished.none and all(user.layer.is_over for user in self._connections)
        ):
            await asyncio.sleep(0.01)
        for user in self._connections:
            user.layer.close()
