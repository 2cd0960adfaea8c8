"""The files below a folder, and what its DICOMDIR (PS3.3 annex F, PS3.10 8) says should be among them."""

import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import pydicom

from neurotriage.core.errors import Refused
from neurotriage.core.values import ReasonCode
from neurotriage.dicom.headers import MALFORMED

_DICOMDIR: Final = "DICOMDIR"
# A directory of 100,000 images has about 50 MB.
_DICOMDIR_LIMIT_BYTES: Final = 256 << 20
_MAX_DEPTH: Final = 32


@dataclass(frozen=True, slots=True)
class Skipped:
    """A file that cannot be taken, by its path within the folder, and why."""

    name: str
    reason: str


@dataclass(frozen=True, slots=True)
class FolderFiles:
    """The regular files of a folder in order, those of them that are a DICOMDIR, and what is amiss."""

    files: tuple[Path, ...]
    directories: tuple[Path, ...]
    skipped: tuple[Skipped, ...]


def files_of(folder: Path) -> FolderFiles:
    """Every file below ``folder``; symbolic links are not followed. Raises ``OSError`` without the folder."""
    files: list[Path] = []
    skipped: list[Skipped] = []
    os.scandir(folder).close()
    for found in _walk(folder, folder, 0):
        if isinstance(found, Skipped):
            skipped.append(found)
        else:
            files.append(found)
    directories = [path for path in files if path.name.upper() == _DICOMDIR]
    for directory in directories:
        skipped += _amiss(folder, directory, files)
    images = tuple(path for path in files if path not in directories)
    return FolderFiles(images, tuple(directories), tuple(skipped))


def open_regular(path: Path) -> int:
    """A descriptor of a regular file. Raises ``OSError``, also for a link or a pipe."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(0, "not a regular file")
    return descriptor


def _walk(root: Path, folder: Path, depth: int) -> Iterator[Path | Skipped]:
    try:
        with os.scandir(folder) as entries:
            ordered = sorted(entries, key=lambda entry: entry.name)
    except OSError as error:
        yield Skipped(name_within(root, folder), f"the folder cannot be read: {error.strerror}")
        return
    for entry in ordered:
        path = Path(entry.path)
        if entry.is_symlink():
            yield Skipped(name_within(root, path), "a symbolic link, which is not followed")
        elif entry.is_dir(follow_symlinks=False):
            if depth < _MAX_DEPTH:
                yield from _walk(root, path, depth + 1)
            else:
                yield Skipped(name_within(root, path), f"folders are nested deeper than {_MAX_DEPTH}")
        elif entry.is_file(follow_symlinks=False):
            yield path
        else:
            yield Skipped(name_within(root, path), "neither a file nor a folder")


def _amiss(root: Path, directory: Path, files: Iterable[Path]) -> Iterator[Skipped]:
    """What a DICOMDIR lists and the folder lacks, or must not be looked for."""
    name = name_within(root, directory)
    try:
        listed = listed_files(directory)
    except Refused as refused:
        yield Skipped(name, refused.reason.text)
        return
    base = directory.parent
    present = {_comparable(path.relative_to(base).parts) for path in files if path.is_relative_to(base)}
    for components in listed:
        text = "/".join(components)
        if not _stays_inside(components):
            yield Skipped(f"{name}: {text!r}", "the DICOMDIR names a path that may lead out of its folder")
        elif _comparable(components) not in present:
            yield Skipped(f"{name}: {text}", "listed in the DICOMDIR and not there")


def listed_files(directory: Path) -> list[tuple[str, ...]]:
    """The File IDs (PS3.10 8.2) of a DICOMDIR, each by its components, as they are written.

    Nothing is opened by them. Raises ``Refused`` (NOT_DICOM) where it cannot be read.
    """
    try:
        with os.fdopen(open_regular(directory), "rb") as file:
            if os.fstat(file.fileno()).st_size > _DICOMDIR_LIMIT_BYTES:
                raise Refused(ReasonCode.NOT_DICOM, "the DICOMDIR is too large to be read")
            records = pydicom.dcmread(file).get("DirectoryRecordSequence") or ()
            file_ids = [record.get("ReferencedFileID") for record in records]
    except (*MALFORMED, OSError, RecursionError, pydicom.errors.InvalidDicomError) as error:
        raise Refused(ReasonCode.NOT_DICOM, "the DICOMDIR cannot be read") from error
    return [
        (str(file_id),) if isinstance(file_id, str) else tuple(map(str, file_id))
        for file_id in file_ids
        if file_id
    ]


def _stays_inside(components: tuple[str, ...]) -> bool:
    """Whether each component is a plain name; laxer than PS3.10 8.2, as many media are."""
    return all(
        part not in ("", ".", "..") and not set(part) & {"/", "\\", "\0", ":"} and part.isprintable()
        for part in components
    )


def _comparable(components: Iterable[str]) -> tuple[str, ...]:
    """A path without what ISO 9660 adds and file systems change: letter case, version, a last dot."""
    return tuple(part.upper().partition(";")[0].rstrip(". ") for part in components)


def name_within(root: Path, path: Path) -> str:
    """A path within ``root``, fit for a terminal."""
    text = os.fsencode(path.relative_to(root)).decode("utf-8", "replace")
    return "".join(letter if letter.isprintable() else "?" for letter in text)
