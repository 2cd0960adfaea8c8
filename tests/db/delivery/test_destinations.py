"""One process at a time sends to a destination, by the database's clock."""

from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from sqlalchemy import Connection, Engine, text

from db.delivery import destinations
from tests.db.rows import expire_leases, sending_right


def test_one_process_sends_to_a_destination(engine: Engine) -> None:
    with engine.begin() as connection:
        right = destinations.take(connection, "pacs", owner="w1", lease_s=60)
        assert right is not None
        assert destinations.take(connection, "pacs", owner="w2", lease_s=60) is None
        assert destinations.take(connection, "other", owner="w2", lease_s=60) is not None
        destinations.release(connection, right)
        assert destinations.take(connection, "pacs", owner="w2", lease_s=60) is not None


def test_of_many_processes_that_ask_at_once_one_gets_the_right(engine: Engine) -> None:
    together = Barrier(4)

    def take(number: int) -> bool:
        together.wait(10)
        with engine.begin() as connection:
            return destinations.take(connection, "pacs", owner=f"w{number}", lease_s=60) is not None

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(take, range(4))) == 1


def _lease_s(connection: Connection) -> float:
    left = "select extract(epoch from lease_until - clock_timestamp()) from destination_leases"
    return float(connection.execute(text(left)).scalar_one())


def test_a_right_is_renewed_from_now_on(engine: Engine) -> None:
    with engine.begin() as connection:
        right = sending_right(connection)
        assert 50 < _lease_s(connection) <= 60
        assert destinations.renew(connection, right, lease_s=600)
        assert 590 < _lease_s(connection) <= 600


def test_a_right_that_ran_out_is_not_renewed_even_if_nobody_took_it(engine: Engine) -> None:
    with engine.begin() as connection:
        right = sending_right(connection)
        expire_leases(connection)
        assert not destinations.renew(connection, right, lease_s=60)


def test_the_holder_before_takes_nothing_from_the_new_one(engine: Engine) -> None:
    with engine.begin() as connection:
        before = sending_right(connection, owner="w1")
        expire_leases(connection)
        now = sending_right(connection, owner="w2")
        assert now.token == before.token + 1
        assert not destinations.renew(connection, before, lease_s=60)
        destinations.release(connection, before)
        owner = connection.execute(text("select owner from destination_leases")).scalar_one()
        assert owner == "w2"
        assert destinations.renew(connection, now, lease_s=60)


def test_a_token_is_never_used_twice(engine: Engine) -> None:
    with engine.begin() as connection:
        tokens = []
        for _ in range(3):
            right = sending_right(connection)
            tokens.append(right.token)
            destinations.release(connection, right)
        assert tokens == [1, 2, 3]


def test_queries_pause_at_the_destination_that_left_one_unanswered_and_at_no_other(engine: Engine) -> None:
    with engine.begin() as connection:
        right = sending_right(connection)
        sending_right(connection, "other")
        assert destinations.query_pause_s(connection, "pacs") == 0
        destinations.pause_queries(connection, right, for_s=600)
        assert 590 < destinations.query_pause_s(connection, "pacs") <= 600
        assert destinations.query_pause_s(connection, "other") == 0
        assert destinations.query_pause_s(connection, "unknown") == 0


def test_a_pause_of_queries_ends_by_itself(engine: Engine) -> None:
    with engine.begin() as connection:
        destinations.pause_queries(connection, sending_right(connection), for_s=-1)
        assert destinations.query_pause_s(connection, "pacs") == 0


def test_a_sender_that_lost_its_right_pauses_no_queries(engine: Engine) -> None:
    with engine.begin() as connection:
        right = sending_right(connection)
        expire_leases(connection)
        destinations.pause_queries(connection, right, for_s=600)
        assert destinations.query_pause_s(connection, "pacs") == 0


def test_a_pause_of_queries_outlives_the_right_of_its_sender(engine: Engine) -> None:
    with engine.begin() as connection:
        right = sending_right(connection)
        destinations.pause_queries(connection, right, for_s=600)
        destinations.release(connection, right)
        sending_right(connection, owner="w2")
        assert destinations.query_pause_s(connection, "pacs") > 0
