"""How fast instances are taken: ``python -m bench.intake [--json FILE] [--memory] [--large] [--catch-up]``.

500 images of a drawn CT, half a megabyte each, sent by DCMTK's ``storescu`` over 1 and 4 associations, each
durable at its 0x0000. The receivers take turns in the same run: ours as ``neurotriage serve`` runs it, with
its ingester beside it; Orthanc with its default storage; ``storescp --fork``, which syncs nothing. Time runs
from the start of the senders to the end of the last one, with nothing subtracted; what the senders need by
themselves is a line of its own (a ``storescp`` that keeps nothing). Medians of the rounds.
"""

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any, Final

import structlog

from bench.figures import Figure, show
from bench.intake import burden
from bench.intake.speed import ASSOCIATIONS, Rates, Speeds, measure
from bench.peers.drawn import DrawnStudy
from bench.peers.receivers import Product, product

IMAGES: Final = 500
SIDE_PX: Final = 512
ROUNDS: Final = 3
# What is wanted at least, by associations.
WANTED_TO_ORTHANC: Final = {1: 1.2, 4: 2.0}
WANTED_TO_STORESCP: Final = {1: 0.6, 4: 0.6}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, and write the figures with ``--json``; 1 where something wanted is missed."""
    options = _options(arguments)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with product(folder / "ours") as ours:
            study = DrawnStudy.draw(folder / "study", options.images, options.side_px)
            speeds = measure(ours, folder, study, options.rounds)
            _show(speeds)
            figures: list[Figure] = []
            for measurement in _burdens(options, folder):
                measured = measurement(ours)
                show(measured)
                figures += measured
    document = _document(speeds, figures)
    if options.json:
        options.json.write_text(json.dumps(document, indent=2))
    reached = all(ratio >= wanted for _, ratio, wanted in _wanted(speeds))
    return 0 if reached and all(figure.holds for figure in figures) else 1


def _burdens(options: argparse.Namespace, folder: Path) -> Iterator[Callable[[Product], list[Figure]]]:
    yield burden.idle
    if options.memory:
        yield burden.memory
    if options.large:
        yield burden.large_object
    if options.catch_up:
        yield partial(burden.catch_up, folder=folder / "small", images=options.catch_up)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.intake", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="of all receivers (%(default)s)")
    parser.add_argument("--images", type=int, default=IMAGES, help="of each study sent (%(default)s)")
    parser.add_argument("--side-px", type=int, default=SIDE_PX, help="of each image (%(default)s)")
    parser.add_argument("--memory", action="store_true", help="8 associations send 250 MB each")
    parser.add_argument("--large", action="store_true", help="one object of 4 GB (takes as much disk)")
    parser.add_argument(
        "--catch-up",
        type=int,
        nargs="?",
        const=burden.CATCH_UP_IMAGES,
        metavar="IMAGES",
        help=f"small images sent while Postgres is away ({burden.CATCH_UP_IMAGES:,})",
    )
    return parser.parse_args(arguments)


def _wanted(speeds: Speeds) -> list[tuple[str, float, float]]:
    """Each ratio with what is wanted at least."""
    return [
        (f"{receiver}, {associations}", speeds.ratio_to(receiver)[associations], wanted[associations])
        for receiver, wanted in (("Orthanc", WANTED_TO_ORTHANC), ("storescp", WANTED_TO_STORESCP))
        for associations in ASSOCIATIONS
    ]


def _document(speeds: Speeds, figures: Sequence[Figure]) -> dict[str, Any]:
    return {
        "images_per_s": _rounded(speeds.images_per_s("neurotriage"), 1),
        "ratio_to_orthanc": _rounded(speeds.ratio_to("Orthanc"), 3),
        "ratio_to_storescp": _rounded(speeds.ratio_to("storescp"), 3),
        "recorded_per_s": _rounded(_medians(speeds.recorded_per_s), 1),
        "cpu_ms_per_image": _rounded(_medians(speeds.cpu_ms_per_image), 2),
        "rounds_per_s": {name: {str(n): r for n, r in rates.items()} for name, rates in speeds.per_s.items()},
        "figures": [{**asdict(figure), "holds": figure.holds} for figure in figures],
    }


def _medians(rates: Rates) -> dict[int, float]:
    return {associations: median(values) for associations, values in rates.items()}


def _rounded(values: Mapping[int, float], digits: int) -> dict[str, float]:
    return {str(key): round(value, digits) for key, value in values.items()}


def _show(speeds: Speeds) -> None:
    print(f"{'images/s':28}" + "".join(f"{number:>9} assoc. (from, to)" for number in ASSOCIATIONS))
    for name, rates in speeds.per_s.items():
        _show_rates(name, rates)
    _show_rates("ours, until recorded", speeds.recorded_per_s)
    _show_rates("CPU ms per image, ours", speeds.cpu_ms_per_image)
    for what, ratio, wanted in _wanted(speeds):
        print(f"ratio to {what} assoc.: {ratio:.2f} (wanted {wanted}){'' if ratio >= wanted else '  MISSED'}")


def _show_rates(name: str, rates: Rates) -> None:
    columns = (f"{median(r):>9.1f} ({min(r):.1f}, {max(r):.1f})".ljust(27) for r in rates.values())
    print(f"{name:28}" + "".join(columns))


if __name__ == "__main__":
    sys.exit(main())
