"""A wrong setting in the words of whoever wrote it: which key of which table, and what is wrong with it."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError


def explained(error: ValidationError, section_as_written: Callable[[str], Any]) -> str:
    """One line per wrong key: ``[[peer]] number 2, "CT1": host: ...``.

    ``section_as_written`` gives a section before it was checked, for the names of its tables; it may raise
    whatever reading a file or JSON raises.
    """
    lines = []
    for item in error.errors():
        problem = {
            "extra_forbidden": "there is no such setting",
            "missing": "this is needed",
            "tuple_type": "write a table in double brackets, or a list",
        }.get(item["type"], item["msg"].removeprefix("Value error, "))
        lines.append(f"{_key(item['loc'], section_as_written)}: {problem}")
    return "\n".join(lines)


def _key(location: Sequence[int | str], section_as_written: Callable[[str], Any]) -> str:
    """A key as a person would name it: ``listener.port``, ``[[peer]] number 2, "CT1": host``."""
    index = next((index for index, part in enumerate(location) if isinstance(part, int)), None)
    if index is None:
        return ".".join(map(str, location))
    names, number, rest = location[:index], int(location[index]), location[index + 1 :]
    name = _table_name(names, number, section_as_written)
    table = f"[[{'.'.join(map(str, names))}]] number {number + 1}" + (f', "{name}"' if name else "")
    key = ".".join(str(part) for part in rest if isinstance(part, str))
    values = "".join(f", value {part + 1}" for part in rest if isinstance(part, int))
    return f"{table}: {key}{values}" if rest else table


def _table_name(names: Sequence[int | str], number: int, section_as_written: Callable[[str], Any]) -> str:
    """The name that the table with this number, from 0, gives itself; empty where it gives none."""
    try:
        raw: Any = section_as_written(str(names[0]))
        for name in names[1:]:
            raw = raw[name]
        table = raw[number]
        name = next((str(table[key]) for key in ("name", "ae_title", "kind") if table.get(key)), "")
        return " ".join(name.split())  # an error is a line
    except (LookupError, TypeError, AttributeError, ValueError, OSError):
        return ""
