"""What is known of a candidate as its record of the summary."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from scbp_host.domain.alone import Alone
from scbp_host.domain.measurement import Measurement, Sampling
from scbp_host.domain.precision import Precision
from scbp_host.domain.resources import MEMORY
from scbp_host.report.candidate import CandidateRecord, EnergyRecord, FailureRecord, PhaseRecord
from scbp_host.stages.known import Known
from scbp_host.stages.names import MEASURE
from scbp_host.stages.ranked import Ranking
from scbp_host.stages.standing import Standing


class CandidateRecords:
    """Makes candidates' records.

    Args:
        standing: what the run has found.
        ranking: who wins.
        first_precision: the run's first, which candidates in it do not name.
    """

    def __init__(self, standing: Standing, ranking: Ranking, first_precision: Precision) -> None:
        self._standing = standing
        self._ranking = ranking
        self._first_precision = first_precision

    def of(self, known: Known) -> CandidateRecord:
        """Return one candidate's record."""
        is_seed = known is self._standing.seed
        measurement, chances = known.measurement, self._ranking.chances.get(known.id)
        latency, ratio = self._standing.latency_ms(known), self._standing.ratio(known)
        return CandidateRecord.model_validate(
            {
                "id": known.id,
                "ratios": known.candidate.ratios,
                "precision": known.precision or self._first_precision,
                "in_float": known.in_float,
                "status": "reference" if is_seed else known.status,
                "params": known.figure("params"),
                "macs": known.figure("macs"),
                "onnx_bytes": known.figure("onnx_bytes"),
                "wire_bytes": known.payloads.get(MEASURE, {}).get("wire_bytes"),
                "latency_p50_ms": latency and latency.value,
                "latency_ratio": ratio and ratio.value,
                "latency_ratio_ci95": ratio and (ratio.low, ratio.high),
                "latency_p99_ms": self._standing.p99_ms(known),
                "val_top1": known.val_top1,
                "test_top1": known.test_top1,
                "rung_epochs": known.rung and known.rung[0],
                "rung_val_top1": known.rung and known.rung[1],
                "on_front": known.id in self._ranking.on_front,
                "meets_budgets": self._ranking.meets.get(known.id),
                "chances": None if chances is None else asdict(chances),
                "tied_with_best": known.id in self._ranking.tied,
                "failure": known.failure and FailureRecord.of(known.failure),
                **(_measured(measurement) if measurement else {}),
            }
        )


def _measured(measurement: Measurement) -> dict[str, Any]:
    return {
        "peak_memory_mb": MEMORY.of(measurement),
        "load_ms": measurement.load_ns / 1e6,
        "missed_frames": measurement.missed_periods,
        "verdicts": tuple(own.kind.value for own in measurement.verdicts),
        "warnings": measurement.warnings,
        "builds": len(measurement.builds) or 1,
        **(_sampling(measurement.sampling) if measurement.sampling else {}),
        **(_alone(measurement.alone) if measurement.alone else {}),
    }


def _alone(alone: Alone) -> dict[str, Any]:
    return {
        "warm_load_ms": alone.warm_load.duration_ns / 1e6,
        "build_s": None if alone.build_ns is None else alone.build_ns / 1e9,
        "energy": alone.energy and EnergyRecord.of(alone.energy),
        "phases": tuple(PhaseRecord.of(name, phase) for name, phase in alone.phases.items()),
        "gpu_ms": alone.device_times and alone.device_times.medians_ms,
        "notes": alone.notes,
    }


def _sampling(sampling: Sampling) -> dict[str, Any]:
    return {
        "loads": sampling.loads,
        "batches_discarded": sampling.discarded,
        "stopped_by": sampling.stopped.value,
    }
