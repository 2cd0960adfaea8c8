"""UIDs that are derived, never random: the same input gives the same result object."""

from typing import Final
from uuid import UUID, uuid4, uuid5

from neurotriage import __version__

# Fixed for ever: a change would give every rebuilt result object a new identity.
_NAMESPACE = UUID("6d3b1c6a-5c59-5bb5-9f0c-6f9b1f0c2a11")


def derived_uid(*parts: str) -> str:
    """A UID under 2.25 from a UUIDv5 of the parts (PS3.5 B.2).

    The order of the parts matters; the separator cannot occur in a UID or digest.
    """
    return f"2.25.{uuid5(_NAMESPACE, chr(0).join(parts)).int}"


# PS3.7 D.3.3.2: who wrote a file. The same in what we store and in what we make.
IMPLEMENTATION_CLASS_UID: Final = derived_uid("neurotriage", "implementation class")
IMPLEMENTATION_VERSION_NAME: Final = f"NEUROTRIAGE {__version__}"[:16]

# Whose results look like ours and stand in nobody's records: those of `neurotriage run`, the same on
# every host, and of the doctor.
RUN_INSTALLATION_UID: Final = derived_uid("neurotriage run")
DOCTOR_INSTALLATION_UID: Final = derived_uid("neurotriage doctor")


def random_uid() -> str:
    """A new UID that nobody else has; only for what is made once, as an installation."""
    return f"2.25.{uuid4().int}"
