"""Checks of STOW-RS: its port, its certificate, and the tokens of the peers."""

import errno
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final

from dicom_listener.admission.tls import server_context
from dicom_listener.stow.access import UnusableToken, read_token
from dicom_listener.stow.server import require_encryption
from neurotriage.core.certificates import expiries
from neurotriage.core.process.own_port import cannot_bind
from neurotriage.core.process.running import STOW, edited_since
from neurotriage.core.settings import ConfigurationError, Settings, StowSettings
from neurotriage.doctor.check import Check, failed, ok, warning
from neurotriage.doctor.intake import lasting

_OTHERS: Final = 0o077


def look_at_stow(settings: Settings, stow: StowSettings) -> Iterator[Check]:
    """Whether the service can start, and who may store."""
    try:
        require_encryption(stow)
        if stow.tls is not None:
            server_context(stow.tls, "stow.tls")
            for expiry in expiries(stow.tls.certificate, stow.tls.ca):
                yield lasting(expiry, datetime.now(UTC))
        elif stow.unencrypted:
            said = "tokens and images cross the network unencrypted"
            yield warning("encryption", said, "Set [stow.tls], unless a proxy in front of it encrypts.")
    except ConfigurationError as error:
        yield failed("encryption", str(error), "Correct [stow] and [stow.tls].")
    yield _port(settings, stow)
    yield from _tokens(settings, stow)


def _port(settings: Settings, stow: StowSettings) -> Check:
    where = f"{stow.host}:{stow.port}"
    problem = cannot_bind(stow.host, stow.port)
    if problem is None:
        return warning("port", f"{where} is free, the service does not run", "Start `neurotriage stow`.")
    if problem.errno != errno.EADDRINUSE:
        advice = "Set [stow] host to an address of this host, and a port that its user may open."
        return failed("port", f"{where} cannot be used: {problem.strerror}", advice)
    edited = edited_since(settings, STOW, STOW)
    if edited:
        text = f"configuration edited since the service started: {', '.join(edited)}"
        return failed("port", text, "Restart `neurotriage stow` (or `serve`).")
    return ok("port", f"{where} is in use")


def _tokens(settings: Settings, stow: StowSettings) -> Iterator[Check]:
    files = [(peer.ae_title.strip(), peer.token_file) for peer in settings.peer if peer.token_file]
    seen: dict[bytes, str] = {}
    for ae_title, path in files:
        subject = f"token of {ae_title}"
        try:
            token = read_token(path)
        except UnusableToken as error:
            yield failed(subject, f"{path} {error}", "Write its token there, and let our user read it.")
            continue
        if token in seen:
            yield failed(subject, f"the same as that of {seen[token]}", "Give each peer a token of its own.")
        elif path.stat().st_mode & _OTHERS:
            yield warning(subject, f"others on this host may read {path}", f"Run `chmod go= {path}`.")
        else:
            yield ok(subject, "readable by our user alone")
        seen[token] = ae_title
    if not files and (stow.tls is None or stow.tls.ca is None):
        advice = "Give a [[peer]] a token_file, or set ca in [stow.tls]."
        yield failed("senders", "nobody may store: no [[peer]] has a token_file", advice)
