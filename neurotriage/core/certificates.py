"""How long certificates hold."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from cryptography import x509

from neurotriage.core.settings import ConfigurationError

# An admin hears of the end this long before.
WARN_DAYS: Final = 30


@dataclass(frozen=True, slots=True)
class Expiry:
    """Until when a certificate of a file holds."""

    file: Path
    subject: str
    ends_at: datetime

    def days_left(self, now: datetime) -> float:
        """Days from ``now`` to the end; negative where it has passed."""
        return (self.ends_at - now) / timedelta(days=1)


def expiries(*files: Path | None) -> list[Expiry]:
    """The ends of the certificates in these PEM files, the earliest first; None stands for no file.

    Raises ``ConfigurationError`` naming a file that cannot be read.
    """
    found: list[Expiry] = []
    for file in files:
        if file is None:
            continue
        try:
            found += [
                Expiry(file, certificate.subject.rfc4514_string(), certificate.not_valid_after_utc)
                for certificate in x509.load_pem_x509_certificates(file.read_bytes())
            ]
        except (OSError, ValueError, x509.InvalidVersion) as error:  # a subject is read when it is asked for
            text = getattr(error, "strerror", None) or "no certificate in PEM form"
            raise ConfigurationError(f"{file}: {text}") from error
    return sorted(found, key=lambda expiry: expiry.ends_at)
