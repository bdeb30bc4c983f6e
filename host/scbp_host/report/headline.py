"""What a run comes to: one sentence, and the key figures of the best beside the seed's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from scbp_host.report import figures
from scbp_host.report.candidate import CandidateRecord
from scbp_host.report.summary import Summary


@dataclass(frozen=True)
class Card:
    """One key figure.

    Attributes:
        title: what it is.
        value: the best's, or the seed's where there is no best.
        reference: the seed's; empty where there is no best.
        change: from the seed to the best.
        note: what a reader must know of it.
        better: whether the change is for the better; None where there is none.
    """

    title: str
    value: str
    reference: str = ""
    change: str = ""
    note: str = ""
    better: bool | None = None


def verdict(summary: Summary) -> str:
    """Return the run's result in one sentence."""
    seed, best = summary.seed, summary.best
    if best is None:
        return f"Nothing was found to replace {summary.model.factory}."
    if best.id == seed.id:
        return f"{summary.model.factory} itself is the best choice: no smaller candidate beats it."
    claims = [claim for claim in (_speed(best), _size(best, seed)) if claim]
    sentence = f"{best.label} is {' and '.join(claims)} than {summary.model.factory}" if claims else best.label
    return f"{sentence}{_accuracy(best, seed)}.{_emulation(summary)}"


def searched(summary: Summary) -> str:
    """Return how much of the space was looked at, and where from."""
    size = f"{summary.space_size:,}"
    if summary.space_size_ci95 is not None:
        low, high = summary.space_size_ci95
        size = f"about {size} ({low:,} to {high:,})"
    structures = {record.structure_id for record in summary.candidates} - {summary.seed.structure_id}
    text = f"{len(structures)} of {size} structures looked at"
    # The pool leaves the seed out; a space that was only estimated was never searched whole.
    whole = summary.space_size_ci95 is None and (summary.pool_size or 0) >= summary.space_size - 1
    if summary.pool_size is not None and not whole:
        text += f", chosen from a uniform sample of {summary.pool_size:,}"
    return text


def certainty(summary: Summary) -> str:
    """Return how sure the best is of its place, and with how many it ties; empty where nothing says."""
    best = summary.best
    if best is None or best.chances is None:
        return ""
    parts = [f"on the front with {best.chances.on_front:.0%}"]
    parts += [f"within the {name} budget with {chance:.0%}" for name, chance in best.chances.of_budgets.items()]
    tied = sum(record.tied_with_best for record in summary.candidates)
    parts += [f"tied with {tied} more, which neither latency nor accuracy tells apart from it"] if tied else []
    return ", ".join(parts)


def cards(summary: Summary) -> tuple[Card, ...]:
    """Return the key figures, the most important first."""
    seed = summary.seed
    best = summary.best or seed
    shown = [
        _latency_card(best, seed, summary),
        _less_is_better("Model file", best.onnx_bytes, seed.onnx_bytes, figures.size_bytes, "ONNX"),
        _less_is_better(
            "Peak memory", best.peak_memory_mb, seed.peak_memory_mb, figures.megabytes, "one process, runtime included"
        ),
        _accuracy_card(best, seed, summary.data.metric),
        _less_is_better("Parameters", best.params, seed.params, figures.count, "weights and biases"),
        _less_is_better("Compute", best.macs, seed.macs, figures.count, "multiply-accumulates for one image"),
        *_energy_cards(best, seed),
    ]
    if best.id == seed.id:
        return tuple(Card(card.title, card.value, note=card.note) for card in shown)
    return tuple(shown)


def _emulation(summary: Summary) -> str:
    return f" (Emulated by {summary.device.emulated}: no board's times.)" if summary.device.emulated else ""


def _speed(best: CandidateRecord) -> str:
    if best.latency_ratio is None:
        return ""
    low, high = best.latency_ratio_ci95 or (best.latency_ratio, best.latency_ratio)
    if low <= 1 <= high:
        return "not measurably faster"
    if best.latency_ratio > 1:
        return f"{best.latency_ratio:.1f}× slower"
    return f"{1 / best.latency_ratio:.1f}× faster"


def _size(best: CandidateRecord, seed: CandidateRecord) -> str:
    if best.onnx_bytes is None or not seed.onnx_bytes:
        return ""
    saved = round(100 * (1 - best.onnx_bytes / seed.onnx_bytes))
    return f"{abs(saved)} % {'smaller' if saved >= 0 else 'larger'}"


def _accuracy(best: CandidateRecord, seed: CandidateRecord) -> str:
    split, value, reference = _accuracies(best, seed)
    if value is None or reference is None:
        return ""
    lost = round(100 * (reference - value), 1)
    if lost == 0:
        return f", as accurate on {split} data"
    return f", {abs(lost):.1f} points {'less' if lost > 0 else 'more'} accurate on {split} data"


def _accuracies(best: CandidateRecord, seed: CandidateRecord) -> tuple[str, float | None, float | None]:
    if best.test_top1 is not None and seed.test_top1 is not None:
        return "test", best.test_top1, seed.test_top1
    return "validation", best.val_top1, seed.val_top1


def energy_line(summary: Summary) -> str:
    """Return what an inference of best and seed takes, and who says so; empty where the board cannot tell."""
    found = [(name, own) for name, own in (("best", summary.best), (summary.model.factory, summary.seed)) if own]
    told = [f"{name} {figures.millijoules(own.energy.mj)}" for name, own in found if own.energy]
    source = next((own.energy for _, own in found if own.energy), None)
    if source is None:
        return ""
    return f"energy of one inference: {', '.join(told)}; {' + '.join(source.rails)} by {source.sampler}"


def _energy_cards(best: CandidateRecord, seed: CandidateRecord) -> list[Card]:
    if best.energy is None or seed.energy is None:
        return []
    source = best.energy
    note = f"{' + '.join(source.rails)} by {source.sampler}, nothing taken off"
    return [_less_is_better("Energy of one inference", best.energy.mj, seed.energy.mj, figures.millijoules, note)]


def _latency_card(best: CandidateRecord, seed: CandidateRecord, summary: Summary) -> Card:
    rate_hz, show = summary.rate_hz, figures.emulated_ms if summary.device.emulated else figures.ms
    return Card(
        "Latency, p50" if rate_hz is None else f"Latency at {rate_hz:g} Hz, p50",
        show(best.latency_p50_ms),
        show(seed.latency_p50_ms),
        figures.ratio(best.latency_ratio),
        f"ratio's 95 % interval {figures.interval(best.latency_ratio_ci95)}" if best.id != seed.id else "",
        None if best.latency_ratio is None else best.latency_ratio < 1,
    )


def _less_is_better(
    title: str, value: float | None, reference: float | None, show: Callable[[float | None], str], note: str
) -> Card:
    better = None if value is None or reference is None else value <= reference
    return Card(title, show(value), show(reference), figures.change(value, reference), note, better)


def _accuracy_card(best: CandidateRecord, seed: CandidateRecord, metric: str) -> Card:
    split, value, reference = _accuracies(best, seed)
    better = None if value is None or reference is None else value >= reference
    return Card(
        f"Accuracy, {split}",
        figures.percent(value),
        figures.percent(reference),
        figures.points(value, reference),
        f"{metric}, from the device's outputs",
        better,
    )
