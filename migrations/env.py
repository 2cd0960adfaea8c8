"""Alembic's environment: migrates the database that the configuration names."""

from alembic import context

from db.engine import connect
from db.tables import Base
from neurotriage.core.settings import load_settings


def run() -> None:
    """Run the migrations on a connection of the caller's, or on one from the configuration."""
    connection = context.config.attributes.get("connection")
    if connection is not None:
        _migrate(connection)
        return
    engine = connect(load_settings().database.url)
    with engine.connect() as own:
        _migrate(own)
    engine.dispose()


def _migrate(connection: object) -> None:
    context.configure(connection=connection, target_metadata=Base.metadata, compare_server_default=False)
    with context.begin_transaction():
        context.run_migrations()


run()
