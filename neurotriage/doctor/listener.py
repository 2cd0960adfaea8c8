"""Checks of our own listener: its port, its AE title, a C-ECHO to it, and C-ECHOs from senders."""

import errno
import queue
import socket
import ssl
import time
from collections.abc import Iterator
from typing import Final

from dicom_listener.admission.peers import rejection
from dicom_listener.server import Listener
from dicom_listener.spool import AssociationInfo
from neurotriage.core.errors import Unavailable
from neurotriage.core.process.own_port import cannot_bind, is_any, reached_at
from neurotriage.core.process.running import LISTENER, edited_since
from neurotriage.core.settings import Destination, Settings
from neurotriage.doctor.check import Check, failed, ok, warning
from worker.delivery import dimse
from worker.delivery.client import Misconfigured

_HANDSHAKE_S: Final = 5.0
_WANTS_OURS: Final = ("TLSV13_ALERT_CERTIFICATE_REQUIRED", "SSLV3_ALERT_HANDSHAKE_FAILURE")
_TAKEN: Final = "Another program may use the port: stop it, or set another [listener] port."


def look_at_listener(settings: Settings, await_echo_s: float) -> Iterator[Check]:
    """Whether the port is free or our listener has it; if it is free, wait ``await_echo_s`` for C-ECHOs."""
    host, port = settings.listener.host, settings.listener.port
    if port == 0:
        yield warning(
            "port", "0: a different port at each start", "Set [listener] port, so that peers can send."
        )
        return
    problem = cannot_bind(host, port)
    if problem is None and await_echo_s > 0:
        yield from _await_echoes(settings, await_echo_s)
    elif problem is None:
        yield warning("port", f"{host}:{port} is free, no listener runs", "Start `neurotriage listen`.")
    elif problem.errno == errno.EADDRINUSE and settings.listener.tls is not None:
        yield _handshake(settings)
    elif problem.errno == errno.EADDRINUSE:
        yield _running(settings)
        if await_echo_s > 0:
            yield ok("echo back", "the listener runs already and logs each C-ECHO as `echo_answered`")
    else:
        yield failed(
            "port",
            f"{host}:{port} cannot be used: {errno.errorcode.get(problem.errno or 0, problem.strerror)}",
            "Set [listener] host to an address of this host, and a port that its user may open.",
        )


def _handshake(settings: Settings) -> Check:
    """Whether whoever has the port speaks TLS; who may send is told by certificates that we do not have."""
    place = reached_at(settings.listener.host), settings.listener.port
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    try:
        with (
            socket.create_connection(place, timeout=_HANDSHAKE_S) as plain,
            context.wrap_socket(plain) as connection,
        ):
            return ok("port", f"{place[0]}:{place[1]} answers, by {connection.version()}")
    except (OSError, ssl.SSLError) as error:
        if getattr(error, "reason", None) in _WANTS_OURS:
            return ok("port", f"{place[0]}:{place[1]} answers by TLS, and wants a certificate of its peers")
        return failed("port", f"{place[0]}:{place[1]} does not speak TLS: {error}", _TAKEN)


def _running(settings: Settings) -> Check:
    """A C-ECHO to the listener, unless it uses another configuration: then its answer would mislead."""
    edited = edited_since(settings, LISTENER, LISTENER)
    if edited:
        return failed(
            "port",
            f"configuration edited since the listener started: {', '.join(edited)}",
            "Restart `neurotriage listen` (or `serve`): it uses the configuration that it read at its start.",
        )
    return _echo(settings)


def _echo(settings: Settings) -> Check:
    """A C-ECHO to our listener, under an AE title that it accepts from this host."""
    ours = settings.listener.ae_title
    host = reached_at(settings.listener.host)
    listener = Destination(
        name="listener", ae_title=ours, host=host, port=settings.listener.port, commitment="off", find="off"
    )
    calling = _calling(settings, host)
    try:
        with dimse.connect(listener, calling or ours, [dimse.VERIFICATION]) as peer:
            answered = peer.echo()
    except Misconfigured as rejected:
        if calling is None:
            return ok("port", "a listener answers, but accepts nobody from here: no [[peer]] is this host")
        return failed("port", str(rejected), _TAKEN)
    except Unavailable as error:
        return failed("port", str(error), _TAKEN)
    if not answered:
        return failed("port", "the C-ECHO was not answered", "See the log of `neurotriage listen`.")
    return ok("port", f"{ours} at {host}:{settings.listener.port} answers a C-ECHO")


def _calling(settings: Settings, host: str) -> str | None:
    """An AE title that our listener accepts from this host; None if there is none."""
    ours = settings.listener.ae_title.strip()
    titles = (ours, *(peer.ae_title.strip() for peer in settings.peer))
    accepted = (t for t in titles if rejection(settings, calling=t, called=ours, host=host) is None)
    return next(accepted, None)


def echo_instructions(settings: Settings) -> str:
    """Instructions for whoever sends the C-ECHO that is awaited."""
    listener = settings.listener
    place = socket.gethostname() if is_any(listener.host) else listener.host
    senders = ", ".join(sorted(_expected(settings))) or "any peer"
    return f"send a C-ECHO from {senders} to AE title {listener.ae_title} at {place}:{listener.port} now"


def _expected(settings: Settings) -> set[str]:
    return {d.ae_title.strip() for d in settings.destination if d.ae_title}


def _await_echoes(settings: Settings, limit_s: float) -> Iterator[Check]:
    """Listen until every destination has sent a C-ECHO; without a destination, until any peer has."""
    came: queue.SimpleQueue[AssociationInfo] = queue.SimpleQueue()
    listener = Listener(settings, on_echo=came.put)
    listener.start()
    waited_for = _expected(settings) or {""}
    deadline = time.monotonic() + limit_s
    try:
        while waited_for:
            parties = came.get(timeout=max(deadline - time.monotonic(), 0))
            waited_for -= {parties.calling_ae_title, ""}
            yield ok("echo back", f"{parties.calling_ae_title} at {parties.peer_host} sent a C-ECHO")
    except queue.Empty:
        names = ", ".join(sorted(waited_for - {""})) or "anybody"
        yield failed(
            "echo back",
            f"no C-ECHO from {names} within {limit_s:g} s",
            "Enter our AE title, host and port there, and the sender as a [[peer]] here; check firewalls.",
        )
    finally:
        listener.stop()
