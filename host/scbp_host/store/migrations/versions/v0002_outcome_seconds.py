"""How long each stage took; unknown (null) for outcomes that are older than this revision."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add ``outcome.seconds``."""
    op.add_column("outcome", sa.Column("seconds", sa.Float()))
