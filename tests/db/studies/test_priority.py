"""A study's class follows what comes of it, in the transaction that records it, and keeps its evidence."""

from dataclasses import replace

from sqlalchemy import Connection, Engine, select, text

from db.studies import assembly, priority
from db.studies.instances import record_instances
from db.tables import Event, Study
from neurotriage.core.priority import Priority
from neurotriage.core.settings import Settings
from neurotriage.dicom.headers import InstanceHeader
from neurotriage.dicom.priority import PriorityRules
from tests.db.rows import RECEPTION, analysed, claimed, header, ready_revision, receive

RULES = PriorityRules.of(
    Settings.model_validate(
        {
            "peer": [
                {"ae_title": "ARCHIVE", "host": "127.0.0.1", "priority": "backlog"},
                {"ae_title": "EMERGENCY", "host": "127.0.0.1", "priority": "urgent"},
            ]
        }
    )
)


def _stat(number: int) -> InstanceHeader:
    return replace(header(number), requested_priority="STAT")


def _come(connection: Connection, *headers: InstanceHeader, peer: str = "SCANNER") -> None:
    reception = replace(RECEPTION, peer_ae_title=peer)
    record_instances(connection, [(item, reception) for item in headers], priorities=RULES)


def _class(connection: Connection) -> tuple[str, str, str]:
    row = connection.execute(select(Study.priority, Study.priority_basis, Study.priority_evidence)).one()
    return row[0], row[1], row[2]


def _told(connection: Connection) -> list[dict[str, str]]:
    return list(connection.execute(select(Event.detail).where(Event.kind == "prioritised")).scalars())


def test_a_study_of_which_nothing_is_known_is_routine_and_makes_no_words(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, header(1))
        _come(connection, header(2))
        assert _class(connection) == ("routine", "nothing", "")
        assert _told(connection) == []


def test_one_image_with_a_stat_request_makes_its_study_urgent_and_it_stays_so(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, header(1))
        _come(connection, header(2), _stat(3), header(4))
        _come(connection, header(5))
        evidence = "(0040,1003) Requested Procedure Priority = STAT"
        assert _class(connection) == ("urgent", "request", evidence)
        # Events name no words of a header.
        assert _told(connection) == [{"priority": "urgent", "basis": "request"}]


def test_pulled_studies_are_backlog_until_the_scanner_sends_them_itself(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _stat(1), peer="ARCHIVE")
        assert _class(connection) == ("backlog", "peer", "[[peer]] ARCHIVE")
        _come(connection, header(1))  # the same image, from another
        assert _class(connection)[0] == "routine"
        _come(connection, header(2), peer="EMERGENCY")
        assert _class(connection) == ("urgent", "peer", "[[peer]] EMERGENCY")
        _come(connection, header(3), peer="ARCHIVE")
        assert _class(connection)[0] == "urgent"


def test_an_admins_word_stands_against_headers_and_peers(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, header(1))
        study_id = receive(connection, 1)
        priority.prioritise(connection, study_id, Priority.ROUTINE)
        _come(connection, _stat(2))
        _come(connection, header(3), peer="EMERGENCY")
        assert _class(connection) == ("routine", "command", "neurotriage prioritise")
        priority.prioritise(connection, study_id, Priority.URGENT)
        assert _class(connection)[0] == "urgent"


def test_a_study_that_is_sent_again_after_it_was_analysed_is_backlog(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, header(1))
        _come(connection, header(1))  # while images still come, a repeat says nothing
        assert _class(connection)[0] == "routine"
        study_id = receive(connection, 1)
        revision_id = assembly.freeze(connection, study_id, idle_s=0, completed_by="quiet")
        assert revision_id is not None
        _come(connection, header(1))  # nor before there is an answer
        assert _class(connection)[0] == "routine"
        analysed(connection, claimed(connection, revision_id))
        _come(connection, header(1), header(2))
        assert _class(connection)[:2] == ("backlog", "again")
        _come(connection, header(3))
        assert _class(connection)[:2] == ("backlog", "again")
        _come(connection, _stat(4))
        assert _class(connection)[:2] == ("urgent", "request")


def test_a_late_part_of_a_study_that_was_analysed_keeps_its_class(engine: Engine) -> None:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection, 1)))
        _come(connection, header(2))
        assert _class(connection)[0] == "routine"


def test_studies_analysed_again_together_are_backlog_whatever_they_were(engine: Engine) -> None:
    with engine.begin() as connection:
        _come(connection, _stat(1))
        priority.hold_back(connection, receive(connection, 1), "analysed again with 499 others")
        assert _class(connection) == ("backlog", "repeated", "analysed again with 499 others")
        _come(connection, header(2))
        assert _class(connection)[0] == "backlog"


def test_a_result_of_ours_that_comes_back_says_nothing_of_its_study(engine: Engine) -> None:
    ours = replace(
        _stat(9), sop_class_uid="1.2.840.10008.5.1.4.1.1.88.34", claims_ours=True, creator_uid="1.2.3.4"
    )
    with engine.begin() as connection:
        _come(connection, header(1))
        record_instances(connection, [(ours, RECEPTION)], installations=("1.2.3.4",), priorities=RULES)
        assert _class(connection)[0] == "routine"


def test_the_queue_view_names_what_waits_with_its_class_and_evidence(engine: Engine) -> None:
    with engine.begin() as connection:
        ready_revision(connection, 1)
        _come(connection, _stat(2))
        row = connection.execute(text("select * from analysis_queue")).mappings().one()
        assert (row["study_instance_uid"], row["state"], row["priority"]) == ("1.2.3", "ready", "urgent")
        assert "STAT" in row["priority_evidence"]
        assert priority.waiting(connection) == {
            Priority.URGENT: 1, Priority.ROUTINE: 0, Priority.BACKLOG: 0
        }  # fmt: skip
