"""Checks of how what comes in is protected: each port, its certificates and how long they hold."""

from collections.abc import Iterator
from datetime import UTC, datetime

from dicom_listener.admission.tls import server_context
from neurotriage.core.certificates import WARN_DAYS, Expiry, expiries
from neurotriage.core.settings import ConfigurationError, ListenerTls, ListeningPort, Settings
from neurotriage.doctor.check import Check, failed, ok, warning


def look_at_intake(settings: Settings, now: datetime | None = None) -> Iterator[Check]:
    """One line per port, and one per certificate that ends within 30 days."""
    for port in settings.listener.ports:
        yield _protection(port)
        if port.tls is not None:
            yield from _certificates(port.tls, now or datetime.now(UTC))


def _protection(port: ListeningPort) -> Check:
    place = f"{port.host}:{port.port}"
    if port.tls is not None:
        peers = "peers show theirs" if port.tls.client_certificates == "required" else "peers need none"
        return ok("intake", f"{place}: TLS 1.2 or newer with a certificate; {peers}")
    if port.is_loopback:
        return ok("intake", f"{place}: this host alone, not encrypted")
    if port.unencrypted:
        text = f"{place}: not encrypted, for {', '.join(port.unencrypted)}"
        return warning("intake", text, "Set up [listener.tls] where the senders can do it.")
    return failed(
        "intake",
        f"{place}: can be reached from the network and is not encrypted",
        "Set up [listener.tls], or name in `unencrypted` the networks that may send in plain text.",
    )


def _certificates(tls: ListenerTls, now: datetime) -> Iterator[Check]:
    try:
        server_context(tls)
        found = expiries(tls.certificate, tls.ca)
    except ConfigurationError as error:
        yield failed(
            "certificate", str(error), "Give the service's user the files, and the key its password."
        )
        return
    for expiry in found:
        yield lasting(expiry, now)


def lasting(expiry: Expiry, now: datetime) -> Check:
    """How long a certificate holds, with a warning 30 days before its end."""
    days = expiry.days_left(now)
    said = f"{expiry.subject} in {expiry.file}"
    until = f"{expiry.ends_at:%Y-%m-%d}"
    if days < 0:
        return failed(
            "certificate", f"{said} ended on {until}", "Renew it; the listener reads it anew by itself."
        )
    if days < WARN_DAYS:
        return warning("certificate", f"{said} ends in {days:.0f} days, on {until}", "Renew it.")
    return ok("certificate", f"{said} holds until {until}")
