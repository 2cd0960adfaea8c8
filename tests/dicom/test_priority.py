"""The class of a study by an instance: the mark of its peer, else the request, else the location."""

from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.sequence import Sequence

from neurotriage.core.priority import Basis, Judgement, Priority
from neurotriage.core.reception import IMPORT_AE_TITLE
from neurotriage.core.settings import Settings
from neurotriage.dicom.headers import InstanceHeader, read_instance
from neurotriage.dicom.priority import PriorityRules, peer_priority
from tests.core.made import instance, part10, write
from tests.db.rows import RECEPTION

pytestmark = pytest.mark.unit


def _rules(*peers: dict[str, object], **priority: object) -> PriorityRules:
    return PriorityRules.of(Settings.model_validate({"peer": peers, "priority": priority}))


def _header(tmp_path: Path, **attributes: object) -> InstanceHeader:
    return read_instance(write(tmp_path / "file.dcm", part10(instance(**attributes))))


def _request(priority: str) -> Sequence:
    item = Dataset()
    item.RequestedProcedurePriority = priority
    return Sequence([Dataset(), item])


@pytest.mark.parametrize(
    ("attributes", "evidence"),
    [
        ({"RequestedProcedurePriority": "STAT"}, "(0040,1003) Requested Procedure Priority = STAT"),
        ({"RequestedProcedurePriority": " high "}, "(0040,1003) Requested Procedure Priority = high"),
        (
            {"RequestedProcedurePriority": "ROUTINE", "RequestAttributesSequence": _request("stat")},
            "(0040,1003) Requested Procedure Priority = ROUTINE\\stat",
        ),
        ({"RequestAttributesSequence": _request("STAT")}, "(0040,1003) Requested Procedure Priority = STAT"),
        ({"StudyPriorityID": "HIGH"}, "(0032,000C) Study Priority ID = HIGH"),
    ],
)
def test_a_requested_priority_makes_a_study_urgent_wherever_it_stands(
    tmp_path: Path, attributes: dict[str, object], evidence: str
) -> None:
    judged = _rules().judge(_header(tmp_path, **attributes), RECEPTION)
    assert (judged.priority, judged.basis, judged.evidence) == (Priority.URGENT, Basis.REQUEST, evidence)


@pytest.mark.parametrize("value", ["ROUTINE", "MEDIUM", "LOW", "STATISTICS", ""])
def test_another_requested_priority_changes_nothing(tmp_path: Path, value: str) -> None:
    judged = _rules().judge(_header(tmp_path, RequestedProcedurePriority=value), RECEPTION)
    assert (judged.priority, judged.basis) == (Priority.ROUTINE, Basis.NOTHING)


def test_a_site_says_itself_which_requests_are_urgent(tmp_path: Path) -> None:
    rules = _rules(requested=["A"])
    assert rules.judge(_header(tmp_path, RequestedProcedurePriority="a"), RECEPTION).basis is Basis.REQUEST
    assert rules.judge(_header(tmp_path, RequestedProcedurePriority="STAT"), RECEPTION).basis is Basis.NOTHING


@pytest.mark.parametrize(
    ("attribute", "value", "urgent"),
    [
        ("CurrentPatientLocation", "Emergency  Department", True),
        ("CurrentPatientLocation", "ED^12^A", True),
        ("RequestingService", "EMERGENCY DEPARTMENT", True),
        ("InstitutionalDepartmentName", "ed^", True),
        ("CurrentPatientLocation", "MED^3", False),
        ("CurrentPatientLocation", "Emergency", False),
        ("InstitutionName", "Emergency Department", False),
    ],
)
def test_an_emergency_location_is_equal_to_a_listed_one_or_begins_like_one(
    tmp_path: Path, attribute: str, value: str, urgent: bool
) -> None:
    rules = _rules(locations=["emergency department"], location_prefixes=["ED^"])
    judged = rules.judge(_header(tmp_path, **{attribute: value}), RECEPTION)
    assert (judged.basis is Basis.LOCATION) == urgent


def test_without_a_list_no_location_is_urgent(tmp_path: Path) -> None:
    for place in ("ED", ""):
        judged = _rules().judge(_header(tmp_path, CurrentPatientLocation=place), RECEPTION)
        assert judged.basis is Basis.NOTHING


@pytest.mark.parametrize("mark", Priority)
def test_the_mark_of_a_peer_comes_before_its_headers(tmp_path: Path, mark: Priority) -> None:
    rules = _rules({"ae_title": "SCANNER", "host": "127.0.0.1", "priority": mark})
    judged = rules.judge(_header(tmp_path, RequestedProcedurePriority="STAT"), RECEPTION)
    assert (judged.priority, judged.basis) == (mark, Basis.PEER)
    assert judged.evidence == "[[peer]] SCANNER"
    other = rules.judge(_header(tmp_path), replace(RECEPTION, peer_ae_title="OTHER"))
    assert other.basis is Basis.NOTHING


def test_peers_of_one_title_are_told_apart_by_their_address() -> None:
    rules = _rules(
        {"ae_title": "CT", "host": "10.0.0.0/8", "priority": "urgent"},
        {"ae_title": "CT", "host": "192.168.1.1"},
        {"ae_title": "CT", "host": "archive.example", "priority": "backlog"},
    )
    asked = {host: peer_priority(rules.peers, "CT", host) for host in ("10.1.1.1", "192.168.1.1", "1.2.3.4")}
    assert asked == {"10.1.1.1": Priority.URGENT, "192.168.1.1": None, "1.2.3.4": Priority.BACKLOG}
    assert peer_priority(rules.peers, "CT", "no address") is Priority.BACKLOG
    assert peer_priority(rules.peers, "MR", "10.1.1.1") is None


def test_the_mark_of_a_peer_known_by_token_or_certificate_counts_wherever_it_is() -> None:
    rules = _rules({"ae_title": "ER", "host": "10.0.0.1", "priority": "urgent"})
    assert peer_priority(rules.peers, "ER", "192.168.7.7") is Priority.URGENT


def test_what_was_imported_is_backlog_unless_its_title_is_marked(tmp_path: Path) -> None:
    imported = replace(RECEPTION, peer_ae_title=IMPORT_AE_TITLE, peer_host="127.0.0.1")
    stat = _header(tmp_path, RequestedProcedurePriority="STAT")
    judged = _rules().judge(stat, imported)
    assert (judged.priority, judged.evidence) == (Priority.BACKLOG, "neurotriage import")
    marked = _rules({"ae_title": IMPORT_AE_TITLE, "host": "127.0.0.1", "priority": "urgent"})
    assert marked.judge(stat, imported).priority is Priority.URGENT


def test_a_request_sequence_that_is_none_is_passed_over(tmp_path: Path) -> None:
    dataset = instance(RequestedProcedurePriority="STAT")
    dataset.add_new(0x00400275, "LO", "no sequence")
    header = read_instance(write(tmp_path / "file.dcm", part10(dataset)))
    assert header.requested_priority == "STAT"


@pytest.mark.parametrize("empty", ["locations", "location_prefixes", "requested"])
def test_an_empty_word_is_refused_because_it_would_fit_everything(empty: str) -> None:
    with pytest.raises(ValueError, match=empty):
        _rules(**{empty: [" "]})


def test_the_title_of_ours_that_was_called_decides_first(tmp_path: Path) -> None:
    settings = Settings.model_validate(
        {
            "listener": {"called": [{"ae_title": "TRIAGE_ER", "priority": "urgent"}, {"ae_title": "OTHER"}]},
            "peer": [{"ae_title": "CT1", "host": "10.0.0.1", "priority": "backlog"}],
        }
    )
    rules = PriorityRules.of(settings)

    def judged(called: str) -> Judgement:
        sender = {"peer_ae_title": "CT1", "peer_host": "10.0.0.1", "called_ae_title": called}
        return rules.judge(_header(tmp_path), replace(RECEPTION, **sender))

    assert judged("TRIAGE_ER").basis is Basis.CALLED
    assert judged("TRIAGE_ER").priority is Priority.URGENT
    assert judged("OTHER").priority is judged("").priority is Priority.BACKLOG
