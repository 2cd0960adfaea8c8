"""Every query of the documents runs as the reader that the documents tell people to make."""

import re
from pathlib import Path

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from db import migrate, refusals
from neurotriage.core.values import Reason, ReasonCode
from tests.db.rows import RECEPTION, analysed, claimed, ready_revision, written

DOCUMENTS = sorted((Path(__file__).parents[2] / "docs").glob("*.md"))


def _queries() -> list[tuple[str, str]]:
    """Each statement of a block of SQL, and each ``select`` within a sentence, with its document."""
    queries = []
    for document in DOCUMENTS:
        words = document.read_text()
        blocks = re.findall(r"```sql\n(.*?)```", words, re.DOTALL)
        bare = (re.sub("--.*", "", block) for block in blocks)
        statements = [part for block in bare for part in block.split(";") if part.strip()]
        statements += re.findall(r"`(select [^`]+)`", words)
        queries += [(document.name, statement.strip()) for statement in statements]
    return queries


QUERIES = _queries()


@pytest.fixture
def reader(engine: Engine) -> str:
    with engine.begin() as connection:
        connection.execute(text("drop role if exists pacs_admins"))
        connection.execute(text("create role pacs_admins"))
        analysed(connection, claimed(connection, ready_revision(connection)), written(1, "pacs"))
        reason = Reason(ReasonCode.NOT_DICOM, "no DICOM")
        refusals.quarantine(connection, "f.dcm", "quarantine/f.dcm", reason, RECEPTION, kind="instance")
    migrate.grant_reader(engine, "pacs_admins")
    return "pacs_admins"


def test_the_documents_have_queries() -> None:
    assert {document for document, _ in QUERIES} == {"admin.md", "data-dictionary.md"}
    assert len(QUERIES) >= 12


def test_a_reader_may_run_every_query_of_the_documents(engine: Engine, reader: str) -> None:
    refused = []
    for document, query in QUERIES:
        with engine.begin() as connection:
            connection.execute(text(f"set local role {reader}"))
            try:
                connection.exec_driver_sql(query).all()
            except DBAPIError as error:
                refused.append(f"{document}: {query}: {error.orig}")
    assert refused == []


def test_every_view_and_column_for_people_is_in_the_data_dictionary(engine: Engine) -> None:
    words = (DOCUMENTS[0].parent / "data-dictionary.md").read_text()
    with engine.connect() as connection:
        columns = connection.execute(text("select * from study_results limit 0")).keys()
    missing = [name for name in (*migrate.VIEWS, *columns) if f"`{name}`" not in words]
    assert missing == []
