"""Runs, and one row for each stage outcome."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create both tables."""
    op.create_table(
        "run",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("config_sha256", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_run"),
    )
    op.create_table(
        "outcome",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("run_id", sa.String(), nullable=False),
        sa.Column("stage", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("ok", sa.Boolean(), nullable=False),
        sa.Column("payload", sa.JSON()),
        sa.Column("failure_kind", sa.String()),
        sa.Column("failure_message", sa.String()),
        sa.Column("failure_hint", sa.String()),
        sa.Column("failure_transient", sa.Boolean()),
        sa.Column("created_at", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_outcome"),
        sa.ForeignKeyConstraint(["run_id"], ["run.id"], name="fk_outcome_run_id"),
        sa.UniqueConstraint("run_id", "stage", "subject", name="uq_outcome_run_id_stage_subject"),
        sa.CheckConstraint(
            "(payload IS NOT NULL) = ok AND (failure_kind IS NULL) = ok",
            name=op.f("ck_outcome_payload_or_failure"),
        ),
    )
