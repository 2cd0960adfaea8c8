"""``python -m neurotriage`` is the same as ``neurotriage``."""

from neurotriage.cli import main

main()
