"""Values for many rows of one statement."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import TableValuedAlias, column, func, literal
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.types import TypeEngine


def columns(**values: tuple[type[TypeEngine[Any]], Sequence[object]]) -> TableValuedAlias:
    """A table of the columns named, each with its type and its values, all of one length.

    An UPDATE that joins it costs one statement for all its rows.
    """
    arrays = (literal(list(given), ARRAY(kind)) for kind, given in values.values())
    named = (column(name, kind) for name, (kind, _) in values.items())
    return func.unnest(*arrays).table_valued(*named, name="given").render_derived()
