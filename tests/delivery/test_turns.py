"""Of what waits for a destination the most urgent study goes first, and none waits for ever."""

from collections.abc import Iterator

import pytest
from pynetdicom import evt
from sqlalchemy import Engine

from db.delivery import deliveries
from neurotriage.core.priority import Priority
from neurotriage.demo.pacs import StandInPacs
from tests.db.rows import put_into
from tests.delivery.conftest import Site, listener
from worker.delivery.turns import PATIENCE, Turns

URGENT, ROUTINE, BACKLOG = Priority


def _study(site: Site, number: int, priority: Priority = Priority.ROUTINE) -> None:
    """An analysed study of this class whose only object waits."""
    site.results(number, study=f"1.2.{number}")
    with site.engine.begin() as connection:
        put_into(connection, priority, study=f"1.2.{number}")


def _numbers(site: Site) -> list[str]:
    """The objects as they were stored, in order."""
    with site.engine.connect() as connection:
        rows = connection.exec_driver_sql(
            "select detail ->> 'sop_instance_uid' from events where kind = 'stored' order by id"
        )
        return [row[0].removeprefix("2.25.") for row in rows]


@pytest.mark.usefixtures("pacs")
def test_the_most_urgent_study_is_sent_first_and_of_a_class_the_oldest(site: Site) -> None:
    for number, priority in enumerate([BACKLOG, ROUTINE, URGENT, ROUTINE, URGENT], 1):
        _study(site, number, priority)
    assert site.deliver() == 5
    assert _numbers(site) == ["3", "5", "2", "4", "1"]


def test_a_study_that_becomes_due_while_others_are_sent_goes_next(site: Site) -> None:
    came: Iterator[int] = iter([9])

    def stores(event: evt.Event) -> int:
        for number in came:  # once, while the first study is being sent
            _study(site, number, URGENT)
        return 0x0000

    with listener(stores) as port:
        site.destination("pacs", port)
        for number in (1, 2, 3):
            _study(site, number, BACKLOG)
        assert site.deliver() == 4
    assert _numbers(site) == ["1", "9", "2", "3"]


@pytest.mark.usefixtures("pacs")
def test_the_study_that_has_waited_longest_is_let_through_now_and_then(site: Site, engine: Engine) -> None:
    _study(site, 1, BACKLOG)
    for number in range(2, PATIENCE + 6):
        _study(site, number, URGENT)
    turns = Turns(engine, "pacs")
    assert turns.due()[0].sop_instance_uid == "2.25.2"
    assert site.deliver() == PATIENCE + 5
    assert _numbers(site).index("1") == PATIENCE


def test_the_proof_of_an_urgent_study_is_looked_for_first(site: Site, pacs: StandInPacs) -> None:
    for number in (1, 2):
        _study(site, number)
    site.execute("update deliveries set state = 'stored', proof_due_at = now()")
    with site.engine.begin() as connection:
        put_into(connection, URGENT, study="1.2.2")
    with site.engine.connect() as connection:
        assert deliveries.due(connection, "pacs") == []
    assert [item.sop_instance_uid for item in Turns(site.engine, "pacs").unproven()] == ["2.25.2"]
