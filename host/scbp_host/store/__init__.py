"""What a run has acknowledged: SQLite, one row for each stage outcome, migrated by Alembic."""

from scbp_host.store.records import Outcome, RunRecord, RunStatus
from scbp_host.store.store import STORE_FILE, Store

__all__ = ["STORE_FILE", "Outcome", "RunRecord", "RunStatus", "Store"]
