"""The conformance statement is current, and what it claims is what is negotiated."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from pynetdicom import AE, build_role, evt
from pynetdicom.presentation import PresentationContext, build_context
from typer.testing import CliRunner

from dicom_listener.server import Listener
from neurotriage.cli import app
from neurotriage.conformance import statement
from neurotriage.core.settings import CONFIG_VARIABLE, Destination, Settings
from neurotriage.core.values import Outcome, ResultKind
from neurotriage.dicom.commitment import PUSH_MODEL
from neurotriage.phantom import INSTALLATION, STUDIES, make_analysis, make_study
from worker.delivery import dimse
from worker.results import build

ROOT = Path(__file__).parents[2]
MAX_CONTEXTS = 128  # of one association, PS3.8 9.3.2.2
WORKLIST = "1.2.840.10008.5.1.4.31"


@pytest.fixture(scope="module")
def text() -> str:
    """The statement of the default configuration."""
    return statement(Settings.model_validate({}))


def _section(text: str, title: str) -> str:
    """From a heading to the next of its level or above."""
    heading = re.search(rf"^(#+) {re.escape(title)}.*$", text, re.MULTILINE)
    assert heading is not None
    body = text[heading.end() :]
    following = re.search(rf"^#{{2,{len(heading[1])}}} ", body, re.MULTILINE)
    return body[: following.start()] if following else body


def _rows(section: str) -> list[list[str]]:
    lines = [line for line in section.splitlines() if line.startswith("| ") and not line.startswith("| ---")]
    return [[cell.strip(" `") for cell in line.strip("|").split(" | ")] for line in lines]


def _claimed(text: str) -> set[tuple[str, str]]:
    """The (abstract syntax, transfer syntax) pairs that the listener claims to accept."""
    pairs: set[tuple[str, str]] = set()
    classes: list[str] = []
    for row in _rows(_section(text, "7.2.4 Association acceptance")):
        match row:
            case ["SOP Class", "UID", "role"]:
                classes = []
            case [_, uid, "SCP" | "SCU"]:
                classes.append(uid)
            case [_, uid] if uid != "UID":
                pairs |= {(sop_class, uid) for sop_class in classes}
    return pairs


def _accepted(port: int, pairs: list[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of the pairs that a listener accepts, a presentation context for each."""
    taken: set[tuple[str, str]] = set()
    for start in range(0, len(pairs), MAX_CONTEXTS):
        entity = AE("SENDER")
        entity.requested_contexts = [build_context(*pair) for pair in pairs[start : start + MAX_CONTEXTS]]
        roles = [build_role(PUSH_MODEL, scp_role=True)]  # that of an archive which reports to us
        association = entity.associate("127.0.0.1", port, ae_title="NEUROTRIAGE", ext_neg=roles)
        assert association.is_established or association.rejected_contexts
        taken |= {(str(c.abstract_syntax), str(c.transfer_syntax[0])) for c in association.accepted_contexts}
        association.release()
    return taken


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    listener = Listener(
        Settings.model_validate(
            {"listener": {"port": 0}, "storage": {"root": tmp_path / "storage", "min_free_bytes": 0}}
        )
    )
    yield listener.start()
    listener.stop()


def test_the_statement_in_the_documents_is_that_of_the_default_configuration(text: str) -> None:
    """When it is not: ``NEUROTRIAGE_CONFIG=/dev/null neurotriage conformance --out docs/conformance.md``."""
    assert (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8") == text


def test_every_context_that_is_claimed_is_accepted(text: str, port: int) -> None:
    claimed = _claimed(text)
    assert len(claimed) > 2500
    assert _accepted(port, sorted(claimed)) == claimed


def test_no_context_is_accepted_that_is_not_claimed(text: str, port: int) -> None:
    claimed = _claimed(text)
    classes = sorted({sop_class for sop_class, _ in claimed})
    unclaimed = [(sop_class, str(DeflatedExplicitVRLittleEndian)) for sop_class in classes]
    unclaimed.append((WORKLIST, str(ExplicitVRLittleEndian)))
    assert not claimed & set(unclaimed)
    assert _accepted(port, unclaimed) == set()


def test_every_context_that_is_proposed_to_a_destination_is_stated_and_no_other(text: str) -> None:
    proposed: list[PresentationContext] = []
    entity = AE("PACS")
    entity.add_supported_context(dimse.VERIFICATION)

    def note(event: evt.Event) -> None:
        proposed.extend(event.assoc.requestor.requested_contexts)

    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_REQUESTED, note)])
    assert server is not None
    stated = [row[1:3] for row in _rows(_section(text, "7.2.3 Association initiation"))[1:]]
    assert len(stated) > 5
    objects = [uid for uid, _ in stated if uid.startswith("1.2.840.10008.5.1.4.1.1.")]
    peer = Destination(name="pacs", ae_title="PACS", host="127.0.0.1", port=server.server_address[1])
    with dimse.connect(peer, "NEUROTRIAGE", objects):
        pass
    entity.shutdown()
    sent = [
        (str(c.abstract_syntax), " or ".join(syntax.name for syntax in c.transfer_syntax)) for c in proposed
    ]
    assert sent == [(uid, syntax) for uid, syntaxes in stated for syntax in syntaxes.split("; ")]


@pytest.mark.parametrize("study", ["mr_enhanced", "umlauts", "ct_tilted"])
@pytest.mark.parametrize("outcome", [Outcome.PRESENT, Outcome.POOR_QUALITY])
def test_what_is_stated_of_created_objects_is_true_of_others(
    text: str, study: str, outcome: Outcome, tmp_path: Path
) -> None:
    made = make_study(tmp_path, slices=9, **STUDIES[study])
    analysis, evidence = make_analysis(made, outcome)
    annex = _section(text, "Annex A")
    shared = {row[0]: row for row in _rows(_section(annex, "Every object"))}
    for result in build(analysis, evidence, made.manifest, INSTALLATION, kinds=set(ResultKind)).objects:
        stated = shared | {row[0]: row for row in _rows(_section(annex, f"{result.kind}: "))}
        elements = {f"({e.tag.group:04X},{e.tag.element:04X})": e for e in dcmread(BytesIO(result.data))}
        assert set(elements) <= set(stated)
        required = {tag for tag, row in stated.items() if row[3] in ("ALWAYS", "VNAP", "EMPTY")} - {"tag"}
        assert required <= set(elements)
        for tag, element in elements.items():
            _, _, vr, presence, source, value = stated[tag]
            assert vr == element.VR
            assert presence != "ALWAYS" or not element.is_empty
            if source == "FIXED" and not element.is_empty:
                values = element.value if element.VM > 1 else [element.value]
                assert "\\".join(map(str, values)).startswith(value)


def test_both_languages_of_the_summary_are_stated(text: str) -> None:
    tree = _section(text, "Annex B")
    concept = "(121049, DCM, Language of Content Item and Descendants)"
    assert re.findall(rf"  .*{re.escape(concept)} = \((\w+), ", tree) == ["en", "de"]


def test_a_site_s_own_statement_names_its_peers_and_destinations() -> None:
    site = Settings.model_validate(
        {
            "listener": {"ae_title": "OURS", "port": 104},
            "peer": [{"ae_title": "CT1", "host": "10.1.2.0/24"}],
            "destination": [
                {"name": "pacs", "ae_title": "PACS", "host": "pacs", "port": 104, "objects": ["sc"]},
                {"name": "cloud", "type": "dicomweb", "url": "https://cloud.example/dicom-web"},
            ],
        }
    )
    told = statement(site)
    assert "Application Entity `OURS`" in told
    assert ["CT1", "10.1.2.0/24", "-"] in _rows(_section(told, "6.5 Peers"))
    assert ["pacs", "dimse", "PACS", "pacs:104", "overlay, page"] in _rows(_section(told, "6.6 Destinations"))
    assert "(here: cloud)" in _section(told, "8.2 DICOM security profiles")
    proposed = {row[0] for row in _rows(_section(told, "7.2.3 Association initiation"))}
    assert "Secondary Capture Image Storage" in proposed
    assert "Comprehensive 3D SR Storage" not in proposed


def test_the_command_prints_the_statement_or_writes_it(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG_VARIABLE, "/dev/null")
    monkeypatch.setattr("neurotriage.conformance.statement", lambda _: text)
    assert CliRunner().invoke(app, ["conformance"]).output == text
    file = tmp_path / "statement.md"
    assert CliRunner().invoke(app, ["conformance", "--out", str(file)]).exit_code == 0
    assert file.read_text(encoding="utf-8") == text


def test_a_place_that_cannot_be_written_is_told_in_a_line(tmp_path: Path) -> None:
    out = tmp_path / "nowhere" / "statement.md"
    answer = subprocess.run(
        [sys.executable, "-m", "neurotriage", "conformance", "--out", out],
        env={**os.environ, CONFIG_VARIABLE: os.devnull},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert answer.returncode == 1
    assert answer.stderr == f"{out}: No such file or directory\n"
