"""The alarm for certificates of a listener that end soon or have ended."""

from collections.abc import Iterable
from datetime import UTC, datetime

import structlog

from neurotriage.core.settings import ConfigurationError, ServerTls

log = structlog.get_logger()


def tell_expiries(ports: Iterable[ServerTls]) -> None:
    """Log an error for each certificate of these ports that ends within ``WARN_DAYS``."""
    # Here: what reads them takes 8 MiB, which a listener without TLS never needs.
    from neurotriage.core.certificates import WARN_DAYS, expiries

    for tls in ports:
        try:
            found = expiries(tls.certificate, tls.ca)
        except ConfigurationError as error:
            log.error("certificate_unreadable", error=str(error))
            continue
        for expiry in found:
            days = expiry.days_left(datetime.now(UTC))
            if days < WARN_DAYS:
                log.error(
                    "certificate_ends", file=str(expiry.file), subject=expiry.subject, days=round(days, 1)
                )
