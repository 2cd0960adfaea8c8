"""UIDs: derived ones, so that the same input gives the same result object, and random ones."""

from typing import Final
from uuid import UUID, uuid4, uuid5

from neurotriage import __version__

# Fixed for ever: a change would give every rebuilt result object a new identity.
_NAMESPACE = UUID("6d3b1c6a-5c59-5bb5-9f0c-6f9b1f0c2a11")


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 (PS3.5 B.2) from a UUIDv5 (RFC 9562 5.5) of the parts, of at most 44 characters.

    The order and the boundaries of the parts matter. Parts must not contain NUL, which separates them.
    """
    return f"2.25.{uuid5(_NAMESPACE, chr(0).join(parts)).int}"


# Implementation identification (PS3.7 D.3.3.2), in our associations and in every file that we write.
IMPLEMENTATION_CLASS_UID: Final = derived_uid("neurotriage", "implementation class")
IMPLEMENTATION_VERSION_NAME: Final = f"NEUROTRIAGE {__version__}"[:16]

# Installations whose results are in no database: `neurotriage run`, the same on every host, and the doctor.
RUN_INSTALLATION_UID: Final = derived_uid("neurotriage run")
DOCTOR_INSTALLATION_UID: Final = derived_uid("neurotriage doctor")


def random_uid() -> str:
    """A new random UID under 2.25; for what is made once, such as an installation or a transaction."""
    return f"2.25.{uuid4().int}"
