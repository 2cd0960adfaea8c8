"""What a hospital is told of security and privacy speaks of files, settings and tables that there are."""

import re
from pathlib import Path
from typing import Final

import pytest
from pydantic import BaseModel

from db.tables.base import Base
from neurotriage.core.settings import Settings
from tests.conftest import ROOT

pytestmark = pytest.mark.unit

PAPERS: Final = [
    ROOT / "SECURITY.md",
    *(ROOT / "docs" / f"{name}.md" for name in ("security-sheet", "data-flow", "privacy")),
]
# Of MDS2 (HN 1-2019), in its order.
SECTIONS: Final = [
    *("DOC", "MPII", "ALOF", "AUDT", "AUTH", "CSUP", "DIDT", "DTBK", "EMRG", "IGAU", "MLDP", "NAUT", "CONN"),
    *("PAUT", "PLOK", "RDMP", "SBOM", "SAHD", "SGUD", "STCF", "TXCF", "TXIG", "RMOT", "OTHR"),
]
# Code that opens a way out of this process, and so must stand in the data flow.
OPENS: Final = re.compile(
    r"httpx\.(?:Async)?Client\(|AsyncGroq\(|\bassociate\(|smtplib|urlopen|socket\.create_connection\("
)
# The demo's stand-ins, a person's check of what stands there, our own servers, and what the others call.
NOT_A_WAY_OUT: Final = (
    "neurotriage/demo",
    "neurotriage/doctor",
    "neurotriage/embedded",
    "neurotriage/dicom/requestor.py",
)


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.stem)
def test_every_file_that_is_named_exists(paper: Path) -> None:
    text = paper.read_text()
    named = re.findall(r"`([a-z_.-]+/[A-Za-z0-9_./@-]+|[a-z.-]+\.(?:toml|yml|lock))`", text)
    # `build/` is made, config.toml is the site's, `deploy/...` and the rooms are here.
    here = [path for path in named if not path.startswith("build/") and path != "config.toml"]
    assert [path for path in here if not (ROOT / path).exists()] == []
    linked = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", text)
    assert [path for path in linked if not (paper.parent / path).exists()] == []


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.stem)
def test_every_heading_that_is_linked_exists(paper: Path) -> None:
    for path, anchor in re.findall(r"\]\(([^)#]*)#([^)]+)\)", paper.read_text()):
        text = ((paper.parent / path) if path else paper).read_text()
        headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
        assert anchor in {
            re.sub(r"[^a-z0-9 -]", "", heading.lower()).replace(" ", "-") for heading in headings
        }


@pytest.mark.parametrize("paper", PAPERS, ids=lambda paper: paper.stem)
def test_every_setting_that_is_named_exists(paper: Path) -> None:
    for section, key in re.findall(r"`\[+([a-z_.]+)\]+(?: ([a-z0-9_]+))?", paper.read_text()):
        model: type[BaseModel] = Settings
        for name in section.split("."):
            model = _section(model, name)
        assert not key or key in model.model_fields, f"[{section}] {key}"


def _section(model: type[BaseModel], name: str) -> type[BaseModel]:
    annotation = model.model_fields[name].annotation
    kinds = (annotation, *getattr(annotation, "__args__", ()))
    return next(kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel))


def test_every_table_that_is_named_exists_and_none_with_a_patient_is_left_out() -> None:
    text = (ROOT / "docs" / "privacy.md").read_text().split("## The database")[1].split("## Logs")[0]
    named = {
        name
        for row in re.findall(r"^\| (`.+?) \|", text, re.MULTILINE)
        for name in re.findall(r"`(\w+)`", row)
    }
    tables = set(Base.metadata.tables)
    assert named <= tables
    about_patients = {
        name
        for name, table in Base.metadata.tables.items()
        if any("patient" in column.name for column in table.columns)
    }
    assert about_patients <= named


def test_the_sheet_answers_every_section_of_mds2() -> None:
    text = (ROOT / "docs" / "security-sheet.md").read_text()
    assert re.findall(r"^## ([A-Z]{3,4}): ", text, re.MULTILINE) == SECTIONS


def test_every_way_out_of_the_code_stands_in_the_data_flow() -> None:
    told = (ROOT / "docs" / "data-flow.md").read_text()
    rooms = [ROOT / room for room in ("neurotriage", "dicom_listener", "worker", "db")]
    ways = {
        str(file.relative_to(ROOT))
        for room in rooms
        for file in room.rglob("*.py")
        if OPENS.search(file.read_text(encoding="utf-8"))
    }
    found = {way for way in ways if not way.startswith(NOT_A_WAY_OUT)}
    assert {"worker/delivery/dimse.py", "worker/provider/client.py"} <= found
    assert {way for way in found if f"`{way}`" not in told} == set()
