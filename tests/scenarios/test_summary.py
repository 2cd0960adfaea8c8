"""A language model is asked after the results are on their way, and its text follows them."""

from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

from neurotriage.demo.pacs import StandInPacs
from neurotriage.demo.studies import SampleStudy
from tests.scenarios.conftest import Site, opened
from tests.summary.chat_server import ChatServer, arranges, chat_server, is_silent

pytestmark = pytest.mark.scenario
REPORT = "1.2.840.10008.5.1.4.1.1.88.34"


def _asking(chat: ChatServer, folder: Path) -> dict[str, object]:
    key = folder / "key"
    key.write_text("gsk_test")
    access = {"provider": "groq", "base_url": chat.url, "model": "some/model", "key_file": key}
    return {**access, "timeout_s": 2.0, "wait_s": 30.0, "retries": 0}


def _reports(folder: Path) -> list[Dataset]:
    found = [dcmread(path) for path in sorted(folder.rglob("*.dcm"))]
    return [dataset for dataset in found if dataset.SOPClassUID == REPORT]


def _text(report: Dataset) -> str:
    return " ".join(
        item.TextValue
        for section in report.ContentSequence
        for item in section.get("ContentSequence", ())
        if "TextValue" in item
    )


def _ended(site: Site) -> object:
    return site.scalar("select state from summary_requests where ended_at is not null")


def test_a_checked_text_follows_as_a_revision_of_the_report(tmp_path: Path, ct_study: SampleStudy) -> None:
    with (
        chat_server(arranges) as chat,
        StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs,
        opened(tmp_path, pacs, summary=_asking(chat, tmp_path)) as site,
    ):
        site.send(ct_study)
        assert site.wait("the request's end", lambda: _ended(site)) == "accepted"
        site.wait("both reports", lambda: len(_reports(tmp_path / "pacs")) == 2)
        site.wait_for_end(ct_study)
    by_uid = {report.SOPInstanceUID: report for report in _reports(tmp_path / "pacs")}
    (new,) = [report for report in by_uid.values() if "PredecessorDocumentsSequence" in report]
    series = new.PredecessorDocumentsSequence[0].ReferencedSeriesSequence[0]
    old = by_uid[series.ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
    assert "Text chosen by some/model" in _text(new)
    assert "Text by template" in _text(old)


def test_a_provider_that_is_silent_delays_no_result(tmp_path: Path, ct_study: SampleStudy) -> None:
    with (
        chat_server(is_silent) as chat,
        StandInPacs(tmp_path / "pacs", ae_title="PACS") as pacs,
        opened(tmp_path, pacs, summary=_asking(chat, tmp_path)) as site,
    ):
        site.send(ct_study)
        row = site.wait_for_end(ct_study)
        assert row["outcome"] == "present"
        assert site.wait("the request's end", lambda: _ended(site)) == "refused"
        assert site.scalar("select reason from summary_requests").startswith("too_slow")
    (report,) = _reports(tmp_path / "pacs")
    assert "Text by template" in _text(report)
