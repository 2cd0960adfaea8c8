"""The snapshot says when the work is done, when the disk is full, and which alarms stand."""

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from db.operations.arrivals import PeerArrivals
from db.operations.sizes import Sizes
from neurotriage.core.alarm_code import AlarmCode
from neurotriage.core.certificates import Expiry
from neurotriage.core.priority import Priority
from neurotriage.core.settings import OperationsSettings, Peer, Settings, StorageSettings
from neurotriage.operations import make_snapshot
from neurotriage.operations.facts import DiskFacts, Facts, Section
from tests.operations.made import AT, EMPTY, FLOW, GB, SETTINGS, WELL, load, paused, process, waiting

pytestmark = pytest.mark.unit


def _alarms(facts: Facts, settings: Settings = SETTINGS) -> list[tuple[AlarmCode, str]]:
    return [(alarm.code, alarm.subject) for alarm in make_snapshot(facts, settings).alarms]


def test_where_all_is_well_no_alarm_stands() -> None:
    assert _alarms(WELL) == []


def test_the_backlog_is_done_at_the_rate_of_the_workers_that_are_alive() -> None:
    backlog = make_snapshot(WELL, SETTINGS).backlog
    assert backlog is not None
    assert (backlog.studies, backlog.analysis_workers, backlog.seconds_per_study) == (6, 2, 4.0)
    assert backlog.done_in_s == 12.0
    assert backlog.done_at == AT + timedelta(seconds=12)


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        (replace(WELL, processes=(process("analysis", silent_s=90),)), "no analysis worker is alive"),
        (replace(WELL, flow=replace(FLOW, analysis_s=None)), "nothing was analysed within a day"),
    ],
)
def test_without_a_rate_no_time_is_told_and_why(facts: Facts, why: str) -> None:
    backlog = make_snapshot(facts, SETTINGS).backlog
    assert backlog is not None
    assert (backlog.done_in_s, backlog.done_at) == (None, None)
    assert why in backlog.why


def test_an_empty_queue_is_done_whatever_the_rate() -> None:
    backlog = make_snapshot(EMPTY, SETTINGS).backlog
    assert backlog is not None
    assert (backlog.done_in_s, backlog.why) == (0.0, "")


def test_the_disk_lasts_until_nothing_is_received_any_more() -> None:
    stored = make_snapshot(WELL, SETTINGS).stored
    assert stored is not None
    assert stored.growth_bytes_per_day == 10 * GB  # 30 GB within three days
    assert stored.days_left == 20.0  # 210 GB, of which 10 must stay free


@pytest.mark.parametrize(("age_days", "per_day_gb"), [(0.1, 30), (1, 30), (2, 15), (3, 10), (40, 10)])
def test_a_young_installation_is_judged_by_its_age_by_a_day_at_least(
    age_days: float, per_day_gb: float
) -> None:
    young = Sizes(0, 0, 27 * GB, 3 * GB, AT - timedelta(days=age_days), 0)
    stored = make_snapshot(replace(WELL, sizes=young), SETTINGS).stored
    assert stored is not None
    assert stored.growth_bytes_per_day == pytest.approx(per_day_gb * GB)


def test_the_larger_reserve_counts() -> None:
    settings = Settings(storage=StorageSettings(min_free_bytes=GB, min_free_percent=10))
    disk = make_snapshot(WELL, settings).disk
    assert disk is not None
    assert disk.reserved_bytes == 100 * GB


def test_configured_destinations_are_told_also_where_nothing_went_there() -> None:
    told = make_snapshot(replace(WELL, destinations=(load("old"), load("back/CT1@10.1.2.3"))), SETTINGS)
    assert told.destinations is not None
    assert [item.name for item in told.destinations] == ["back/CT1@10.1.2.3", "old", "pacs"]


@pytest.mark.parametrize(
    ("facts", "alarm"),
    [
        (
            replace(WELL, processes=tuple(process(r) for r in ("delivery", "listen"))),
            (AlarmCode.ROLE_ABSENT, "analysis"),
        ),
        (
            replace(WELL, processes=(*(WELL.processes or ()), process("analysis", pid=9, silent_s=61))),
            (AlarmCode.PROCESS_GONE, "analysis host1:9"),
        ),
        (replace(WELL, queue=(waiting(Priority.URGENT, 1, 601),)), (AlarmCode.QUEUE_OLD, "urgent")),
        (replace(WELL, queue=(waiting(Priority.ROUTINE, 1, 3601),)), (AlarmCode.QUEUE_OLD, "routine")),
        (
            replace(WELL, flow=replace(FLOW, last_day=replace(FLOW.last_day, studies_failed=1))),
            (AlarmCode.STUDIES_FAILED, ""),
        ),
        (
            replace(WELL, disk=DiskFacts(1000 * GB, 210 * GB, 3, AT - timedelta(seconds=301))),
            (AlarmCode.SPOOL_OLD, ""),
        ),
        (replace(WELL, disk=DiskFacts(1000 * GB, 9 * GB, 0, None)), (AlarmCode.DISK_SHORT, "")),
        (replace(WELL, disk=DiskFacts(1000 * GB, 79 * GB, 0, None)), (AlarmCode.DISK_FILLING, "")),
        (
            replace(WELL, destinations=(load(objects_waiting=3, objects_alarmed=2, alarmed_since=AT),)),
            (AlarmCode.DELIVERY_WAITS, "pacs"),
        ),
        (replace(WELL, destinations=(load(objects_unproven=1),)), (AlarmCode.DELIVERY_UNPROVEN, "pacs")),
        (replace(WELL, destinations=(load(objects_ended_last_day=1),)), (AlarmCode.DELIVERY_ENDED, "pacs")),
        (
            replace(WELL, destinations=(load(objects_held=1, held_since=AT - timedelta(seconds=86_401)),)),
            (AlarmCode.HELD_LONG, "pacs"),
        ),
        (replace(WELL, pauses=(paused("analysis", 86_401),)), (AlarmCode.PAUSED_LONG, "analysis")),
    ],
)
def test_each_cause_raises_its_alarm_once(facts: Facts, alarm: tuple[AlarmCode, str]) -> None:
    assert _alarms(facts) == [alarm]


@pytest.mark.parametrize(
    "facts",
    [
        replace(WELL, queue=(waiting(Priority.URGENT, 1, 599), waiting(Priority.BACKLOG, 900, 9e6))),
        replace(WELL, disk=DiskFacts(1000 * GB, 81 * GB, 3, AT - timedelta(seconds=299))),
        replace(WELL, destinations=(load(objects_waiting=3, objects_held=9, oldest_waiting_s=10),)),
        replace(WELL, pauses=(paused("pacs", 86_399),)),
    ],
)
def test_what_is_within_the_limits_raises_none(facts: Facts) -> None:
    assert _alarms(facts) == []


def test_the_limits_are_those_of_the_configuration() -> None:
    strict = SETTINGS.model_copy(
        update={
            "operations": OperationsSettings(
                urgent_alarm_s=1, routine_alarm_s=30, spool_alarm_s=1, disk_alarm_days=21
            )
        }
    )
    assert [code for code, _ in _alarms(WELL, strict)] == [
        AlarmCode.QUEUE_OLD,
        AlarmCode.QUEUE_OLD,
        AlarmCode.SPOOL_OLD,
        AlarmCode.DISK_FILLING,
    ]


def test_a_role_that_was_killed_whole_is_one_alarm_with_the_time_at_which_it_was_last_seen() -> None:
    others = (process("delivery"), process("listen"))
    facts = replace(WELL, processes=(*others, process("analysis", silent_s=120)))
    (alarm,) = make_snapshot(facts, SETTINGS).alarms
    assert (alarm.code, alarm.since) == (AlarmCode.ROLE_ABSENT, AT - timedelta(seconds=120))


def test_without_a_destination_no_delivery_worker_is_missed() -> None:
    facts = replace(WELL, processes=(process("analysis"), process("listen")), destinations=())
    assert _alarms(facts, Settings()) == []
    assert _alarms(facts) == [(AlarmCode.ROLE_ABSENT, "delivery")]


def test_what_is_not_known_is_one_alarm_for_a_cause_and_never_passes_as_well() -> None:
    away = dict.fromkeys(set(Section) - {Section.DISK}, "Postgres does not answer")
    facts = Facts(at=AT, disk=WELL.disk, missing=away)
    told = make_snapshot(facts, SETTINGS)
    (alarm,) = told.alarms
    assert (alarm.code, alarm.text) == (AlarmCode.UNKNOWN, "Postgres does not answer")
    assert told.disk is not None
    assert told.missing == away
    for section in (told.queue, told.backlog, told.processes, told.flow, told.destinations, told.stored):
        assert section is None


def test_a_quarantine_that_grows_is_an_alarm() -> None:
    grown = replace(WELL, sizes=Sizes(0, 0, 0, 0, None, 101))
    assert _alarms(grown) == [(AlarmCode.QUARANTINE_GROWING, "")]
    off = SETTINGS.model_copy(update={"operations": OperationsSettings(quarantine_alarm=0)})
    assert _alarms(grown, off) == []
    assert _alarms(replace(WELL, sizes=Sizes(0, 0, 0, 0, None, 100))) == []


@pytest.mark.parametrize(
    ("now", "weeks", "peers", "tells"),
    [
        (0, 3, (), True),
        (0, 4, ("CT1",), True),
        (1, 4, (), False),  # it sends
        (0, 2, (), False),  # not usual
        (0, 4, ("MR1",), False),  # it may send no longer
    ],
)
def test_a_peer_that_is_silent_in_its_usual_hours_is_an_alarm(
    now: int, weeks: int, peers: tuple[str, ...], tells: bool
) -> None:
    facts = replace(WELL, arrivals=(PeerArrivals("CT1", now, 9, weeks),))
    peer = tuple(Peer(ae_title=title, host="10.1.2.3") for title in peers)
    settings = SETTINGS.model_copy(update={"peer": peer})
    assert _alarms(facts, settings) == ([(AlarmCode.PEER_SILENT, "CT1")] if tells else [])


def test_each_file_with_a_certificate_that_ends_within_a_month_is_an_alarm() -> None:
    days_left_of = {"own.pem": (29, 400), "other.pem": (31,), "old.pem": (-1,)}
    found = tuple(
        Expiry(Path(name), "CN=x", AT + timedelta(days=days))
        for name in days_left_of
        for days in days_left_of[name]
    )
    told = make_snapshot(replace(WELL, certificates=found), SETTINGS).alarms
    assert [(alarm.code, alarm.subject) for alarm in told] == [
        (AlarmCode.CERTIFICATE_ENDING, "old.pem"),
        (AlarmCode.CERTIFICATE_ENDING, "own.pem"),
    ]
    assert "it ended on" in told[0].text
    assert "it ends on" in told[1].text
