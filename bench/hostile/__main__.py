"""Bad company does not stop the listener: ``python -m bench.hostile [--json FILE] [--mutations N]``.

A crowd of idle, slow and dribbling connections from listed and unlisted addresses holds on while a listed
peer works; then messages and data sets with random changes come, the same for the same seed.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import structlog

from bench.figures import show, write
from bench.hostile.crowd import Sizes
from bench.hostile.mutations import mutations
from bench.hostile.siege import siege

WORK_S: Final = 30.0
IMAGES: Final = 100
MUTATIONS: Final = 500


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, and write ``{"figures": [...]}`` with ``--json``; 1 where a limit is exceeded."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.hostile", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--work-s", type=float, default=WORK_S, help="among the crowd (%(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="of each study sent (%(default)s)")
    parser.add_argument(
        "--mutations",
        type=int,
        default=MUTATIONS,
        metavar="N",
        help="of PDUs, and of data sets (%(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the mutations (%(default)s)")
    options = parser.parse_args(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        figures = siege(folder / "siege", Sizes(), work_s=options.work_s, images=options.images)
        show(figures)
        changed = mutations(folder / "mutations", options.mutations, options.seed)
        show(changed)
        figures += changed
    if options.json:
        write(figures, options.json)
    return 0 if all(figure.holds for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main())
