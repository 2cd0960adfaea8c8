"""Intake continues under load and faults: ``python -m bench.robustness [--json FILE]``.

One function per claim, each with real components: listener, Postgres, senders, a worker's analysis. Every
figure has a limit; the exit code is 1 where one is exceeded. The full disk is a small tmpfs, for which this
must run as root.
"""

import argparse
import json
import multiprocessing
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian
from pynetdicom import AE
from pynetdicom.association import Association
from sqlalchemy import Engine, text

from bench.figures import Figure, show, write
from bench.memory import BOUND_MB, analyse_long_study
from db.engine import connect
from dicom_listener.spool import AssociationInfo, Spool
from neurotriage.core.settings import Settings, environment_of
from neurotriage.core.storage import Storage
from neurotriage.dicom.requestor import associate
from neurotriage.embedded.process import LOOPBACK
from neurotriage.embedded.stack import Stack

QUIET_S: Final = 2.0
IMAGES_PER_S: Final = 100.0
STUDIES: Final = 4  # of each streaming sender, one after the other
IMAGES: Final = 60  # of each study
SIDE_PX: Final = 256
POISON_ITEMS: Final = 400_000
DISK_BYTES: Final = 48 * 1024**2
LONG_STACKS: Final = (1000, 3000)

FREEZE_LIMIT_S: Final = 3.0
BACK_LIMIT_S: Final = 15.0
PATIENCE_S: Final = 120.0


class CannotMount(Exception):
    """A small disk cannot be mounted here; the text gives the reason."""


@dataclass(frozen=True, slots=True)
class ListenerSite:
    """A listener with its database."""

    settings: Settings
    engine: Engine

    @property
    def port(self) -> int:
        return self.settings.listener.port

    def count(self, what: str) -> int:
        with self.engine.connect() as connection:
            return int(connection.execute(text(f"select count(*) from {what}")).scalar_one())  # noqa: S608

    def wait(self, condition: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not condition():
            if time.monotonic() > end:
                raise TimeoutError("the listener does not go on")
            time.sleep(0.02)

    def frozen_at(self, study_instance_uid: str) -> float | None:
        """Time of the first revision of a study, in seconds since the epoch; None where there is none."""
        query = (
            "select r.ready_at from revisions r join studies s on s.id = r.study_id"
            " where s.study_instance_uid = :uid and r.number = 1"
        )
        with self.engine.connect() as connection:
            at: datetime | None = connection.execute(text(query), {"uid": study_instance_uid}).scalar()
        return at.timestamp() if at else None

    def delay_s(self, study_instance_uid: str, finished_at: float) -> float:
        """Seconds from the end of the quiet timer to the first revision.

        ``finished_at``: when the last image was acknowledged, in seconds since the epoch.
        """
        self.wait(lambda: self.frozen_at(study_instance_uid) is not None)
        return (self.frozen_at(study_instance_uid) or 0.0) - finished_at - QUIET_S


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print, and write ``{"figures": [...]}`` with ``--json``; 1 where a limit is exceeded."""
    parser = argparse.ArgumentParser(prog="python -m bench.robustness", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures")
    options = parser.parse_args(arguments)
    figures: list[Figure] = []
    for claim in CLAIMS:
        with tempfile.TemporaryDirectory() as folder:
            try:
                figures += claim(Path(folder))
            except CannotMount as error:
                print(f"{claim.__name__}: not measured: {error}", file=sys.stderr)
    show(figures)
    if options.json:
        write(figures, options.json)
    return 0 if all(figure.holds for figure in figures) else 1


def streaming(folder: Path) -> list[Figure]:
    """Two and three senders stream study after study: the delay in seconds until finished studies freeze."""
    return [figure for senders in (2, 3) for figure in _streaming(folder / str(senders), senders)]


def _streaming(folder: Path, senders: int) -> list[Figure]:
    with listening(folder) as site:
        spawn = multiprocessing.get_context("spawn")
        with spawn.Pool(senders) as pool:
            shares = [(site.port, number, IMAGES_PER_S / senders) for number in range(senders)]
            sent = pool.starmap(_stream, shares)
        delays_s = [site.delay_s(uid, at) for stream in sent for uid, at in stream]
        split = site.count("revisions where number > 1")
    seconds = max(stream[-1][1] for stream in sent) - min(stream[0][1] for stream in sent)
    rate = senders * (STUDIES - 1) * IMAGES / seconds
    what = f"{senders} senders, {rate:.0f} images/s"
    return [
        Figure(f"{what}: freezing after the timer, latest", max(delays_s), "s", FREEZE_LIMIT_S),
        Figure(f"{what}: studies frozen before they were whole", split, "studies", 0),
    ]


def poison(folder: Path) -> list[Figure]:
    """Contexts that fit no column, slow and broken headers: another peer's study freezes within seconds."""
    with listening(folder) as site:
        spool = Spool(Storage(site.settings.storage.root), "main", min_free_bytes=0)
        for parties, data_set in _poison_files():
            spool.receive(
                parties,
                sop_class_uid=CTImageStorage,
                sop_instance_uid="1.2.3",
                transfer_syntax_uid=ExplicitVRLittleEndian,
                data_set=data_set,
            )
        notes = Storage(site.settings.storage.root).spool("main") / "refused"
        for number, contexts in enumerate(POISON_CONTEXTS):
            note = {"peer_ae_title": "A\0B", "peer_host": "127.0.0.1", "contexts": contexts}
            (notes / f"{number}.json").write_text(json.dumps(note))
        (notes / "half.json").write_text('{"peer_ae_title": "A", "cont')
        _propose_poison(site.port)
        images = [_image("2.25.77", number) for number in range(30)]
        finished_at = _send(site.port, "GOOD", images)
        delay_s = site.delay_s("2.25.77", finished_at)
        site.wait(lambda: not spool.refused())
        aside = site.count("quarantined where kind = 'note'")
    return [
        Figure("poison of another peer: freezing after the timer", delay_s, "s", FREEZE_LIMIT_S),
        Figure("poison: notes not told in quarantine", 1 - aside, "notes", 0),
    ]


POISON_CONTEXTS: Final[Sequence[list[tuple[str, list[str]]]]] = (
    [("1.2.3.4", [f"1.2.3.{number}" for number in range(3000)])],
    [("1.2.3\0.6", ["1.2.840\0.10008"]), ("1.2.3." + "7" * 5000, ["1.2." + "8" * 5000])],
)


def _poison_files() -> Iterator[tuple[AssociationInfo, bytes]]:
    """Headers that take a parser long, and random bytes."""
    sequence = struct.pack("<HH2sxxL", 0x0008, 0x1140, b"SQ", 0xFFFFFFFF)
    for _ in range(5):
        yield (
            AssociationInfo("SLOW", "NEUROTRIAGE", LOOPBACK),
            sequence + b"\xfe\xff\x00\xe0\0\0\0\0" * POISON_ITEMS,
        )
    for _ in range(5):
        yield AssociationInfo("BROKEN", "NEUROTRIAGE", LOOPBACK), os.urandom(4000)


def _propose_poison(port: int) -> None:
    """One association that proposes a refused SOP class in very many transfer syntaxes."""
    entity = AE("PROPOSER")
    entity.add_requested_context("1.2.3.4.5", [f"1.2.3.{number}" for number in range(1500)])
    entity.add_requested_context("1.2.840.10008.1.1")
    associate(entity, LOOPBACK, port, called="NEUROTRIAGE").release()


def full_disk(folder: Path) -> list[Figure]:
    """Full disk: what is sent once there is space again is recorded within seconds, by the same process."""
    with small_disk(folder / "disk") as disk, Stack(_settings(disk), folder / "s", roles=()) as stack:
        engine = connect(stack.settings.database.url)
        settings, port = stack.settings, stack.settings.listener.port  # assigned by now
        site = ListenerSite(settings, engine)
        with (disk / "listen.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "neurotriage", "listen"],
                stdout=log,
                stderr=log,
                cwd=folder,
                env={**os.environ, **environment_of(settings)},
            )
        try:
            site.wait(lambda: _accepts(port))
            with engine.begin() as connection:  # so that acknowledged images wait
                connection.execute(text("lock table studies in exclusive mode"))
                _send(port, "ONE", [_image("2.25.1", number) for number in range(3)])
                fill(disk)
            refused = _statuses(port, "ONE", [_image("2.25.2", number) for number in range(3)])
            site.wait(lambda: site.count("instances") == 3)
            (disk / "ballast").unlink()
            free_at = time.monotonic()
            _send(port, "ONE", [_image("2.25.3", number) for number in range(3)])
            site.wait(lambda: site.count("instances") == 6 and site.count("revisions") >= 2)
            back_s = time.monotonic() - free_at
            ended = process.poll() is not None
        finally:
            process.terminate()
            process.wait(30)
            engine.dispose()
    return [
        Figure("full disk: images acknowledged without room", refused.count(0), "images", 0),
        Figure("full disk and back: until recorded and frozen", back_s, "s", BACK_LIMIT_S),
        Figure("full disk and back: listeners that ended", int(ended), "", 0),
    ]


def worker_memory(folder: Path) -> list[Figure]:
    """Long stacks of large slices: the peak memory of a worker in MB."""
    return [
        Figure(
            f"worker memory: {slices:,} slices of 512 x 512, at most",
            analyse_long_study(folder / str(slices), slices).peak_mb,
            "MB",
            BOUND_MB,
        )
        for slices in LONG_STACKS
    ]


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """A separate file system of ``DISK_BYTES``. Raises ``CannotMount``."""
    folder.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    try:
        subprocess.run(command, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise CannotMount(getattr(error, "stderr", "") or str(error)) from error
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(disk: Path) -> None:
    """Write a file until not one byte is free."""
    with (disk / "ballast").open("wb", buffering=0) as ballast:
        for size in (1 << 20, 1 << 12, 1):
            try:
                while ballast.write(bytes(size)) == size:
                    pass
            except OSError:
                continue


@contextmanager
def listening(folder: Path) -> Iterator[ListenerSite]:
    """A listener process that records, with its own database and storage below ``folder``."""
    with Stack(_settings(folder / "storage"), folder / "servers", roles=("listen",)) as stack:
        engine = connect(stack.settings.database.url)
        site = ListenerSite(stack.settings, engine)
        # The ingester starts after the listener: what is claimed holds for one that runs.
        _send(site.port, "FIRST", [_image("2.25.99", 0)])
        site.wait(lambda: site.count("instances") == 1)
        yield site
        engine.dispose()


def _settings(root: Path) -> Settings:
    return Settings.model_validate(
        {
            "listener": {"port": 0},
            "assembly": {"quiet_s": QUIET_S},
            "storage": {"root": root, "min_free_bytes": 0},
        }
    )


def _accepts(port: int) -> bool:
    entity = AE("PROBE")
    entity.add_requested_context("1.2.840.10008.1.1")
    association = associate(entity, LOOPBACK, port, called="NEUROTRIAGE")
    accepted = association.is_established
    if accepted:
        association.release()
    return accepted


def _stream(port: int, number: int, images_per_s: float) -> list[tuple[str, float]]:
    """Send study after study at a steady rate; each UID with the epoch time of its last response."""
    association = _associate(port, f"STREAM{number}")
    finished = []
    begun = time.monotonic()
    for study in range(STUDIES):
        uid = f"2.25.{number + 1}{study:04d}"
        for image in range(IMAGES):
            due_at = begun + (study * IMAGES + image) / images_per_s
            time.sleep(max(0.0, due_at - time.monotonic()))
            _store(association, _image(uid, image))
        finished.append((uid, time.time()))
    association.release()
    return finished


def _send(port: int, calling: str, images: Sequence[Dataset]) -> float:
    """Send images; returns the epoch time of the last response."""
    association = _associate(port, calling)
    for image in images:
        _store(association, image)
    finished_at = time.time()
    association.release()
    return finished_at


def _statuses(port: int, calling: str, images: Sequence[Dataset]) -> list[int]:
    association = _associate(port, calling)
    statuses = [int(association.send_c_store(image).get("Status", -1)) for image in images]
    association.release()
    return statuses


def _store(association: Association, image: Dataset) -> None:
    status = association.send_c_store(image).get("Status", -1)
    if status != 0:
        raise RuntimeError(f"answered {status:#06x}")


def _associate(port: int, calling: str) -> Association:
    entity = AE(calling)
    entity.add_requested_context(CTImageStorage, ExplicitVRLittleEndian)
    association = associate(entity, LOOPBACK, port, called="NEUROTRIAGE")
    if not association.is_established:
        raise RuntimeError("no association")
    return association


def _image(study: str, number: int) -> Dataset:
    """A CT image with unique pixels."""
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID = CTImageStorage
    image.StudyInstanceUID, image.SeriesInstanceUID = study, f"{study}.1"
    image.SOPInstanceUID = f"{study}.1.{number + 1}"
    image.Modality, image.PatientID, image.InstanceNumber = "CT", "BENCH", number + 1
    image.Rows = image.Columns = SIDE_PX
    image.BitsAllocated, image.BitsStored, image.HighBit = 16, 12, 11
    image.SamplesPerPixel, image.PixelRepresentation = 1, 0
    image.PhotometricInterpretation = "MONOCHROME2"
    image.PixelData = os.urandom(16) + bytes(2 * SIDE_PX * SIDE_PX - 16)
    return image


CLAIMS: Final[Sequence[Callable[[Path], list[Figure]]]] = (streaming, poison, full_disk, worker_memory)


if __name__ == "__main__":
    sys.exit(main())
