"""The snapshot as JSON, and the schema of it."""

import json
from typing import Any, Final

from pydantic import TypeAdapter

from neurotriage.operations.values import Snapshot

_SNAPSHOT: Final = TypeAdapter(Snapshot)


def to_json(snapshot: Snapshot) -> str:
    """The snapshot as JSON. Times are ISO 8601 in UTC; a name ends with its unit."""
    return _SNAPSHOT.dump_json(snapshot, indent=2).decode()


def schema() -> dict[str, Any]:
    """The JSON schema of ``to_json``, kept as ``docs/status.schema.json``."""
    made: dict[str, Any] = _SNAPSHOT.json_schema(mode="serialization")
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


if __name__ == "__main__":
    print(json.dumps(schema(), indent=2))
