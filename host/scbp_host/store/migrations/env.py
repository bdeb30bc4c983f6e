"""Alembic executes this file, on the connection that ``scbp_host.store.migrate`` hands over."""

from alembic import context

from scbp_host.store.schema import Base

# The transaction is the caller's.
context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
context.run_migrations()
