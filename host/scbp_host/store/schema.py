"""The tables as they are today; ``migrations/`` says how they came to be."""

from __future__ import annotations

from typing import Any

from sqlalchemy import JSON, CheckConstraint, Float, ForeignKey, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Constraints have stable names, so that a migration can refer to them."""

    metadata = MetaData(
        naming_convention={
            "pk": "pk_%(table_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
        }
    )
    type_annotation_map = {dict[str, Any]: JSON(none_as_null=True)}  # noqa: RUF012 - SQLAlchemy declares it like this


class RunRow(Base):
    """One run."""

    __tablename__ = "run"

    id: Mapped[str] = mapped_column(primary_key=True)
    created_at: Mapped[str]
    config: Mapped[dict[str, Any]]
    config_sha256: Mapped[str]
    status: Mapped[str]


class OutcomeRow(Base):
    """One stage outcome: a payload, or a failure with its kind."""

    __tablename__ = "outcome"
    __table_args__ = (
        UniqueConstraint("run_id", "stage", "subject"),
        CheckConstraint("(payload IS NOT NULL) = ok AND (failure_kind IS NULL) = ok", name="payload_or_failure"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    run_id: Mapped[str] = mapped_column(ForeignKey("run.id"))
    stage: Mapped[str]
    subject: Mapped[str]
    ok: Mapped[bool]
    payload: Mapped[dict[str, Any] | None]
    failure_kind: Mapped[str | None]
    failure_message: Mapped[str | None]
    failure_hint: Mapped[str | None]
    failure_transient: Mapped[bool | None]
    seconds: Mapped[float | None] = mapped_column(Float)
    created_at: Mapped[str]
