"""Workers take the most urgent study that waits, each another, and none waits for ever."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import Connection, Engine, select, text

from db.studies import leases, priority
from db.studies.turns import PATIENCE
from db.tables import Revision
from neurotriage.core.priority import Priority
from neurotriage.core.states import RevisionState
from tests.db.rows import backlog_waits, expire_leases, put_into, ready_revision

BACKLOG = 2000


def waits(connection: Connection, number: int, of: Priority = Priority.ROUTINE) -> int:
    """A revision of a study of its own that waits for a worker."""
    revision_id = ready_revision(connection, 1, study=f"1.2.{number}")
    put_into(connection, of, study=f"1.2.{number}")
    return revision_id


def taken(connection: Connection, *, owner: str = "w1") -> int | None:
    held = leases.claim_next(connection, owner=owner, lease_s=60, attempts=4)
    return None if held is None else held.revision_id


def _all(connection: Connection, count: int) -> Sequence[int | None]:
    return [taken(connection) for _ in range(count)]


def test_the_most_urgent_is_taken_first_and_of_a_class_the_oldest(engine: Engine) -> None:
    with engine.begin() as connection:
        old, routine = waits(connection, 3, Priority.BACKLOG), waits(connection, 4)
        urgent, later = waits(connection, 5, Priority.URGENT), waits(connection, 6, Priority.URGENT)
        another = waits(connection, 7)
        assert _all(connection, 6) == [urgent, later, routine, another, old, None]


def test_a_backlog_of_2000_delays_an_urgent_study_by_the_one_in_work_at_most(engine: Engine) -> None:
    with engine.begin() as connection:
        backlog_waits(connection, BACKLOG)
        waits(connection, 1)
    with engine.begin() as connection:
        assert all(_all(connection, 10))  # the routine one, and ten of the backlog in work or done
    with engine.begin() as connection:
        urgent = waits(connection, 2, Priority.URGENT)
    with engine.begin() as connection:
        assert taken(connection) == urgent


def test_a_study_that_waits_already_moves_when_an_admin_says_so(engine: Engine) -> None:
    with engine.begin() as connection:
        first, second, third = (waits(connection, number) for number in range(3))
        studies = {row.id: row.study_id for row in connection.execute(select(Revision.id, Revision.study_id))}
        priority.prioritise(connection, studies[third], Priority.URGENT)
        priority.prioritise(connection, studies[first], Priority.BACKLOG)
        assert _all(connection, 3) == [third, second, first]


def test_a_long_row_of_urgent_studies_lets_others_through_now_and_then(engine: Engine) -> None:
    with engine.begin() as connection:
        old, routine = waits(connection, 1, Priority.BACKLOG), waits(connection, 2)
        patience = PATIENCE[Priority.URGENT]
        for number in range(patience + 3):
            waits(connection, 10 + number, Priority.URGENT)
        order = _all(connection, patience + 3)
        # The head of the backlog was passed over by routine's turn, too.
        assert order.index(routine) == patience
        assert order.index(old) == patience + 1


def test_what_failed_waits_behind_those_of_its_class(engine: Engine) -> None:
    with engine.begin() as connection:
        poison, healthy = waits(connection, 1), waits(connection, 2)
    with engine.begin() as connection:
        held = leases.claim_next(connection, owner="w1", lease_s=60, attempts=4)
        assert held is not None
        assert held.revision_id == poison
        leases.give_back(connection, held, "broken")
    with engine.begin() as connection:
        assert _all(connection, 3) == [healthy, poison, None]


def test_what_lost_its_worker_is_taken_again_and_what_must_wait_is_not(engine: Engine) -> None:
    with engine.begin() as connection:
        waits(connection, 1)
        held = leases.claim_next(connection, owner="w1", lease_s=60, attempts=4)
        assert held is not None
        assert taken(connection) is None
        leases.give_back(connection, held, "no space", retry_in_s=600)
        assert taken(connection) is None
        expire_leases(connection)
    with engine.begin() as connection:
        again = leases.claim_next(connection, owner="w2", lease_s=60, attempts=4)
        assert again is not None
        assert (again.revision_id, again.attempt, again.token) == (held.revision_id, 2, held.token + 1)


def test_what_used_up_its_attempts_is_left_to_the_sweep(engine: Engine) -> None:
    with engine.begin() as connection:
        poison, healthy = waits(connection, 1, Priority.URGENT), waits(connection, 2)
        for _ in range(4):
            held = leases.claim_next(connection, owner="w1", lease_s=60, attempts=4)
            assert held is not None
            assert held.revision_id == poison
            leases.give_back(connection, held, "broken")
        assert _all(connection, 2) == [healthy, None]
        assert leases.fail_abandoned(connection, attempts=4) == 1


def test_workers_that_come_at_once_take_different_studies_and_leave_none(engine: Engine) -> None:
    with engine.begin() as connection:
        urgent = {waits(connection, number, Priority.URGENT) for number in range(8)}
        for number in range(8, 32):
            waits(connection, number, list(Priority)[number % 2 + 1])
    workers = 8
    together = Barrier(workers)

    def work(number: int) -> list[int]:
        mine = []
        together.wait(30)
        while True:
            with engine.begin() as connection:
                revision_id = taken(connection, owner=f"w{number}")
            if revision_id is None:
                return mine
            mine.append(revision_id)

    with ThreadPoolExecutor(workers) as pool:
        claims = list(pool.map(work, range(workers)))
    every = [revision_id for mine in claims for revision_id in mine]
    assert sorted(every) == list(range(1, 33))
    with engine.connect() as connection:
        rows = connection.execute(select(Revision.attempt, Revision.token, Revision.state).distinct()).all()
        assert [tuple(row) for row in rows] == [(1, 1, RevisionState.ANALYSING)]
        order = connection.execute(
            text("select revision_id from events where kind = 'analysing' order by id")
        )
        first = set(order.scalars().all()[: len(urgent) + workers])
    assert urgent <= first


def test_a_worker_that_froze_while_it_claims_holds_up_no_other(engine: Engine) -> None:
    with engine.begin() as connection:
        first, second = waits(connection, 1, Priority.URGENT), waits(connection, 2)
        third = waits(connection, 3)
    with engine.begin() as frozen:
        assert taken(frozen) == first  # its transaction stays open, with the heads that it passed over
        with engine.begin() as connection:
            connection.execute(text("set local lock_timeout = '2s'"))
            assert _all(connection, 3) == [third, None, None]
    with engine.begin() as connection:
        assert taken(connection) == second
