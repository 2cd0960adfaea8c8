"""The whole product as real processes, to be broken."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from sqlalchemy import Engine, text

from db import queries
from db.engine import connect
from neurotriage.core.settings import CONFIG_VARIABLE, Settings
from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.send import send
from neurotriage.demo.studies import SampleStudy, head_ct, head_mr
from neurotriage.embedded.stack import ROLES, Stack

PATIENCE_S = 150.0


@dataclass
class Site:
    """A hospital's corner: the product, a PACS, and a way to ask the tables."""

    stack: Stack
    pacs: StandInPacs
    engine: Engine

    def send(self, study: SampleStudy) -> None:
        """Send a study; every instance must be answered 0x0000."""
        port = self.stack.settings.listener.port
        report = send(study.datasets, "127.0.0.1", port, called="NEUROTRIAGE", calling="MODALITY")
        assert len(report.stored) == len(study.datasets), report

    @property
    def spooled(self) -> int:
        """Instances that were answered 0x0000 and wait to be recorded."""
        spool = self.stack.settings.storage.root / "spool"
        return len(list(spool.glob("*/new/*.dcm")))

    def logged(self, role: str, words: str) -> int:
        """How often a process has said so."""
        return self.stack.log(role).read_text().count(words)

    def row(self, study: SampleStudy) -> Mapping[str, Any] | None:
        """The study's row of ``study_results``."""
        with self.engine.connect() as connection:
            rows = queries.study_results(connection, limit=1000)
        return next((row for row in rows if row["study_instance_uid"] == study.study_instance_uid), None)

    def scalar(self, statement: str) -> Any:
        with self.engine.connect() as connection:
            return connection.execute(text(statement)).scalar()

    def wait(self, what: str, condition: Callable[[], Any], timeout_s: float = PATIENCE_S) -> Any:
        """Wait until the tables say so."""
        deadline = time.monotonic() + timeout_s
        while not (answer := condition()):
            # After the look: time may have passed while this process was not running.
            assert time.monotonic() < deadline, f"not within {timeout_s} s: {what}"
            time.sleep(0.02)
        return answer

    def wait_for_end(self, study: SampleStudy) -> Mapping[str, Any]:
        """Wait until the study has an outcome and nothing of it waits to be sent."""

        def ended() -> Mapping[str, Any] | None:
            row = self.row(study)
            done = row is not None and row["outcome"] is not None and row["deliveries_waiting"] == 0
            return row if done else None

        row: Mapping[str, Any] = self.wait("the study's end", ended)
        return row


def destination(name: str, port: int, **more: object) -> dict[str, object]:
    """A ``[[destination]]`` on this host."""
    return {"name": name, "ae_title": name.upper(), "host": "127.0.0.1", "port": port, **more}


@contextmanager
def opened(
    folder: Path,
    pacs: StandInPacs,
    *others: dict[str, object],
    roles: Iterable[str] = ROLES,
    quiet_s: float = 2,
    released_quiet_s: float = 5,
    first_looks: int = 0,
    hl7_folder: Path | None = None,
    summary: Mapping[str, object] = MappingProxyType({}),
    **storage: object,
) -> Iterator[Site]:
    """Everything up, with leases short enough to be waited for; ``pacs`` is the first destination.

    Without ``first_looks``, a study is analysed as often on a slow machine as on a fast one.
    """
    settings = Settings.model_validate(
        {
            "listener": {"port": 0},
            "assembly": {
                "quiet_s": quiet_s,
                "released_quiet_s": released_quiet_s,
                "first_looks": first_looks,
            },
            "identity": {"hl7_folder": hl7_folder},
            "storage": {"root": folder / "storage", "min_free_bytes": 0, **storage},
            # Named, or each stack would measure the engines anew.
            "worker": {"sweep_s": 1, "lease_s": 6, "threads": 1, "engine": "openvino"},
            "delivery": {"retry_s": 1, "retry_max_s": 2},
            "summary": dict(summary),
            "destination": [destination("pacs", pacs.port), *others],
        }
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CONFIG_VARIABLE, "/dev/null")
        with Stack(settings, folder / "servers", ephemeral=True, roles=tuple(roles)) as stack:
            engine = connect(stack.settings.database.url)
            yield Site(stack, pacs, engine)
            engine.dispose()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """The product and its PACS."""
    with StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs, opened(tmp_path, pacs) as site:
        yield site


@pytest.fixture(scope="session")
def mr_study() -> SampleStudy:
    """Its first series alone, which is analysed in half the time."""
    study = head_mr()
    first = study.datasets[0].SeriesInstanceUID
    series = tuple(dataset for dataset in study.datasets if dataset.SeriesInstanceUID == first)
    return replace(study, datasets=series)


@pytest.fixture(scope="session")
def ct_study() -> SampleStudy:
    return head_ct()
