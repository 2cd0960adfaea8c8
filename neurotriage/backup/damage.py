"""What a backup says that cannot be used."""

from neurotriage.core.errors import SetupError


class BackupDamaged(SetupError):
    """The backup does not hold what its manifest says, or has none."""
