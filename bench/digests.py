"""Did a change of the code change a result? SHA-256 of every result object and of what ``run`` says.

``python -m bench.digests FILE [--studies FOLDER ...] [--against FILE]`` writes the digest of every result
object of the made studies of ``bench.validate`` and, for each folder in the FOLDERs, what ``neurotriage run``
reports of it, without times. ``--against``: prints what differs from an earlier file, and exits 1 where
anything does.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

from bench.validate import FUSION, cases_of
from neurotriage.phantom import STUDIES

# What differs from run to run of the same code.
TIMES = ("analysed_at", "timings_s")
FOLDER_LIMIT_S = 600


def object_digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Name and SHA-256 of every object of the made studies, which are written to ``folder``."""
    for study in (*STUDIES, FUSION):
        for case in cases_of(study, folder / study):
            for _, path in case.objects:
                yield str(path.relative_to(folder)), sha256(path.read_bytes()).hexdigest()


def run_digests(studies: Path, out: Path) -> Iterator[tuple[str, Any]]:
    """Name and entry of ``result.json``, without times, of every study in each folder of ``studies``."""
    for folder in sorted(path for path in studies.iterdir() if path.is_dir()):
        print(folder.name, file=sys.stderr)
        subprocess.run(
            [sys.executable, "-m", "neurotriage", "run", folder, "--out", out / folder.name],
            check=True,
            capture_output=True,
            timeout=FOLDER_LIMIT_S,
        )
        for number, entry in enumerate(json.loads((out / folder.name / "result.json").read_text())):
            yield f"{folder.name}/{number}", {key: entry[key] for key in entry if key not in TIMES}


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """A line per name whose value is another, or is only on one side."""
    return [
        f"{name}: {json.dumps(before.get(name))} -> {json.dumps(now.get(name))}"
        for name in sorted({*before, *now})
        if before.get(name) != now.get(name)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the digests; 1 where they differ from those they are held against."""
    parser = argparse.ArgumentParser(prog="python -m bench.digests", description=__doc__)
    parser.add_argument("file", type=Path, help="where the digests are written")
    parser.add_argument(
        "--studies",
        type=Path,
        nargs="+",
        default=[],
        metavar="FOLDER",
        help="folders of DICOM studies to analyse",
    )
    parser.add_argument("--against", type=Path, metavar="FILE", help="digests of an earlier version")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        digests: dict[str, Any] = dict(object_digests(Path(folder) / "objects"))
        for studies in options.studies:
            digests |= run_digests(studies, Path(folder) / studies.name)
    options.file.write_text(json.dumps(digests, indent=1, sort_keys=True))
    if options.against is None:
        print(f"{len(digests)} digests in {options.file}")
        return 0
    changed = differences(json.loads(options.against.read_text()), digests)
    print("\n".join([*changed, f"{len(changed)} of {len(digests)} differ from {options.against}"]))
    return int(bool(changed))


if __name__ == "__main__":
    sys.exit(main())
