"""A destination at which something is to be proven is rung for, when it is time."""

from sqlalchemy import Engine, text

from db import queries, sweep
from db.delivery import deliveries, destinations, proof
from db.delivery.destinations import SendingRight
from neurotriage.core.states import DeliveryState
from tests.db.rows import analysed, claimed, ready_revision, written


def _stored(engine: Engine) -> SendingRight:
    with engine.begin() as connection:
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        right = destinations.take(connection, "pacs", owner="w", lease_s=60)
        assert right is not None
        (sent,) = deliveries.due(connection, "pacs")
        deliveries.begin(connection, right, sent.id)
        assert deliveries.settle(connection, right, sent, DeliveryState.STORED, "stored", prove=True)
    return right


def test_a_destination_with_something_to_prove_is_rung_for(engine: Engine) -> None:
    right = _stored(engine)
    with engine.begin() as connection:
        destinations.release(connection, right)
        assert sweep.destinations_to_ring(connection, every_s=0) == ["pacs"]
        connection.execute(text("update deliveries set proof_due_at = now() + interval '1 hour'"))
        assert sweep.destinations_to_ring(connection, every_s=0) == []


def test_a_sender_that_lost_its_right_proves_nothing(engine: Engine) -> None:
    right = _stored(engine)
    with engine.begin() as connection:
        connection.execute(text("update destination_leases set token = token + 1"))
        objects = proof.due(connection, "pacs")
        proof.record_found(connection, right, objects)
        proof.postpone(connection, right, objects, "later", in_s=60)
        assert not proof.record_request(connection, right, objects, "2.25.1", ae_title="PACS", wait_s=60)
        assert proof.due(connection, "pacs") == objects


def test_the_view_counts_proofs_and_alarms(engine: Engine) -> None:
    _stored(engine)
    with engine.begin() as connection:
        (row,) = queries.study_results(connection, limit=1)
        assert (row["deliveries_proven"], row["deliveries_alarmed"]) == (0, 0)
        connection.execute(text("update deliveries set committed_at = now(), alarmed_at = now()"))
        (row,) = queries.study_results(connection, limit=1)
        assert (row["deliveries_proven"], row["deliveries_alarmed"]) == (1, 1)
        assert row["committed_at"] is not None
        assert row["found_at"] is None
