"""The rule of what may be deleted of the received bytes: whoever deletes some asks here first.

What a peer was promised by storage commitment is kept (PS3.4 J.3): the peer may have deleted its own.
"""

from collections.abc import Collection

from sqlalchemy import ColumnElement, Connection, select

from db.tables import Instance


def may_be_deleted() -> ColumnElement[bool]:
    """The condition on ``instances`` under which an instance, and its row, may be deleted.

    To be asked in the transaction that deletes, with the rows locked: a promise may be given meanwhile.
    """
    return Instance.committed_at.is_(None)


def promised(connection: Connection, digests: Collection[str]) -> frozenset[str]:
    """Those of the digests (SHA-256 of a data set, hex) whose bytes must be kept, wherever they lie."""
    if not digests:
        return frozenset()
    rows = connection.execute(select(Instance.digest).where(Instance.digest.in_(digests), ~may_be_deleted()))
    return frozenset(rows.scalars())
