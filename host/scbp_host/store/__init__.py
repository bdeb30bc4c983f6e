"""What a run has acknowledged: SQLite, one row for each stage outcome, migrated by Alembic."""

from scbp_host.store.records import Outcome, RunRecord, RunStatus
from scbp_host.store.store import Store

__all__ = ["Outcome", "RunRecord", "RunStatus", "Store"]
