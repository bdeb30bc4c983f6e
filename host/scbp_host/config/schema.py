"""What a run can be asked for: the keys of scbp.toml, which are the flags of ``run``, with their types and defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from scbp_host.domain.precision import Precision
from scbp_host.domain.resources import ENERGY, MEMORY, Resource

# Faster than any camera, and still a period that a board's sleep can keep.
MAX_RATE_HZ = 1000.0
# What a run may lose in accuracy where the user sets no budget at all, in points.
DEFAULT_ACCURACY_DROP = 1.0
DEFAULT_ROUNDS = 2

_UNITS = {
    "ms": {"us": 1e-3, "ms": 1.0, "s": 1e3},
    "MB": {"kB": 1e-3, "KB": 1e-3, "MB": 1.0, "GB": 1e3},
    "mJ": {"uJ": 1e-3, "mJ": 1.0, "J": 1e3},
    "Hz": {"Hz": 1.0, "hz": 1.0, "fps": 1.0},
    "%": {"%": 1.0},
}
_QUANTITY = re.compile(r"\s*([0-9]*\.?[0-9]+(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]+|%)\s*")


def _reads(unit: str) -> BeforeValidator:
    """Return a validator that reads ``15ms`` or ``300MB`` and returns the number in ``unit``."""

    def read(value: object) -> object:
        if value is None:
            return value
        match = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
        factor = _UNITS[unit].get(match[2]) if match else None
        if match is None or factor is None or float(match[1]) <= 0:
            known = ", ".join(_UNITS[unit])
            raise ValueError(f"expected a positive number with its unit ({known}), e.g. '15{unit}'")
        return float(match[1]) * factor

    return BeforeValidator(read)


def _writes(unit: str) -> PlainSerializer:
    """Return the inverse: a bare number would be refused when the stored run is read again."""
    return PlainSerializer(lambda value: f"{value!r}{unit}", return_type=str, when_used="unless-none")


def _ratio(value: float) -> float:
    if not 0.0 < value <= 1.0:
        raise ValueError("expected a ratio in (0, 1]")
    return value


def _binning(value: object) -> object:
    """Read a method's name, or a table of superblocks by name; pydantic would name the union's parts one by one."""
    if isinstance(value, str) and value in get_args(BinningMethod):
        return value
    if isinstance(value, Mapping) and len(value) > 1 and all(_is_patterns(own) for own in value.values()):
        return {str(name): tuple(patterns) for name, patterns in value.items()}
    methods = ", ".join(get_args(BinningMethod))
    raise ValueError(f"expected {methods}, or a table of at least two superblocks, each a list of module names")


def _is_patterns(value: object) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(isinstance(own, str) and own for own in value)


BinningMethod = Literal["stage", "params", "macs", "latency"]
Binning = Annotated[BinningMethod | Mapping[str, tuple[str, ...]], BeforeValidator(_binning)]
Milliseconds = Annotated[float | None, _reads("ms"), _writes("ms")]
Megabytes = Annotated[float | None, _reads("MB"), _writes("MB")]
Millijoules = Annotated[float | None, _reads("mJ"), _writes("mJ")]
Hertz = Annotated[float | None, _reads("Hz"), _writes("Hz")]
Percent = Annotated[float | None, _reads("%"), _writes("%")]
Augment = Literal["none", "shift", "crop-flip", "resized-crop-flip"]
Accuracy = Literal["importance", "refit", "supernet"]
SearchStrategy = Literal["guided", "one_shot", "random", "uniform", "nsga2", "tpe", "gp"]
Init = Literal["inherited", "from-scratch"]
Importance = Literal["l1", "l2", "bn-scale", "taylor", "random"]
Ratio = Annotated[float, BeforeValidator(lambda value: _ratio(value) if isinstance(value, int | float) else value)]
# A set as text is kept in one line, so that another line break is no other configuration.
Ratios = (
    Annotated[tuple[Ratio, ...], Field(min_length=1)]
    | Annotated[str, AfterValidator(lambda text: " ".join(text.split())), Field(min_length=1)]
)


class RunConfig(BaseModel):
    """Everything one run was asked for.

    Attributes:
        device: profile name, or a path ending in ``.toml``.
        model: torchvision classifier, or ``package.module:factory``.
        data: ``digits``, ``textures``, ``cifar10:FOLDER``, ``cifar100:FOLDER``, a folder of images, or
            ``package.module:function``.
        augment: how training images are varied; None takes what suits the data.
        max_corrupt_images: so many unreadable images of a folder are left out; None allows 1 % of them.
        weights: the seed's trained weights (safetensors); None trains the seed first.
        input_shape: (channels, height, width).
        binning: what makes a superblock: a spatial resolution, an equal share of a cost, or, by the superblock's name,
            module names or globs.
        superblocks: how many superblocks of equal shares; None takes as many as there are resolutions.
        ratios: c-ratios of every superblock, in all combinations; or a set of ratio tuples, as
            ``space/ratio_sets/expression.py`` reads it.
        strategy: how structures are chosen; see ``search/strategies.py``.
        measure: structures measured before anything is trained.
        train: candidates trained in each round.
        rounds: propose, measure, train; each learns from what the rounds before it measured; see :attr:`most_rounds`.
        max_trainings: after so many candidates the search ends; None sets no limit.
        max_hours: of the run at work; None sets no limit.
        min_improvement: the guided search ends where a round is expected to add a smaller share to the hypervolume.
        decide_seconds: at the end, what the order of the trained turns on is measured again for so long at most.
        seed_epochs: epochs of the seed's training; None takes the recipe's.
        epochs: epochs of a candidate's training; None takes the recipe's.
        accuracy: what accuracy is guessed by before anything is trained: the importance that channels keep, what
            structures reach by the refit alone, or a slimmable seed, trained for that; None: see ``accuracy_guess``.
        supernet_epochs: epochs of the slimmable seed's training; None takes the recipe's.
        init: what a candidate's training starts from: the seed's weights, or fresh ones.
        importance: which of the seed's channels a candidate inherits; see ``space/importance.py``.
        refit: whether inherited layers are first fitted to the seed's outputs; see ``training/refit.py``.
        distill: whether candidates learn from the seed's answers beside the labels.
        distill_temperature: softens both answers.
        distill_weight: the seed's share of the loss.
        halving: successive halving's first rung, in epochs; None trains every candidate to the end.
        train_workers: candidates trained at the same time, each in a process of its own.
        compile: whether trainings go through ``torch.compile``.
        ci_width: percent; each latency ratio is measured until its 95 % interval is narrower. None: a fixed number of
            loads.
        max_seconds: what one round of measurements may take. None: no limit of its own.
        together: models at most that take turns in one round, the reference among them.
        builds: engines of each trained network that are built and measured; None is 3 where the device's
            runtime builds any.
        rate: Hz; models run at a camera's rate while they are timed. None is a tight loop.
        precision: what trained networks are exported in, each a competitor of its own; the first is what structures
            are measured in before.
        latency_budget: ms; None sets none.
        memory_budget: MB of 10^6 bytes; None sets none.
        energy_budget: mJ of one inference; None sets none.
        max_accuracy_drop: points of validation top-1 below the seed; see :attr:`accuracy_drop_points`.
        random_seed: decides everything that is drawn.
        out: folder of the store and of the runs' own folders.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    device: str = "local"
    model: str = "resnet18"
    data: str = "digits"
    augment: Augment | None = None
    max_corrupt_images: int | None = Field(None, ge=0)
    weights: Path | None = None
    input_shape: tuple[int, int, int] = (3, 32, 32)
    binning: Binning = "stage"
    superblocks: int | None = Field(None, ge=2)
    ratios: Ratios = (1.0, 0.75, 0.5, 0.25)
    strategy: SearchStrategy = "guided"
    measure: int = Field(32, ge=2)
    train: int = Field(6, ge=1)
    rounds: int | None = Field(None, ge=1)
    max_trainings: int | None = Field(None, ge=1)
    max_hours: float | None = Field(None, gt=0)
    min_improvement: float = Field(0.001, ge=0, le=1)
    decide_seconds: float = Field(30.0, ge=0)
    seed_epochs: int | None = Field(None, ge=1)
    epochs: int | None = Field(None, ge=1)
    accuracy: Accuracy | None = None
    supernet_epochs: int | None = Field(None, ge=1)
    init: Init = "inherited"
    importance: Importance = "l1"
    refit: bool = True
    distill: bool = True
    distill_temperature: float = Field(4.0, gt=0)
    distill_weight: float = Field(0.5, ge=0, le=1)
    halving: int | None = Field(None, ge=1)
    train_workers: int = Field(1, ge=1)
    compile: bool = False
    ci_width: Percent = Field(None, le=100.0)
    max_seconds: float | None = Field(None, gt=0)
    together: int = Field(2, ge=2, le=16)
    builds: int | None = Field(None, ge=1)
    rate: Hertz = Field(None, le=MAX_RATE_HZ)
    precision: Annotated[tuple[Precision, ...], Field(min_length=1)] = (Precision.FP32,)
    latency_budget: Milliseconds = None
    memory_budget: Megabytes = None
    energy_budget: Millijoules = None
    max_accuracy_drop: float | None = Field(None, ge=0, le=100)
    lock_clocks: bool = False
    random_seed: int = Field(0, ge=0)
    out: Path = Path("runs")

    @field_validator("ratios", "precision")
    @classmethod
    def _no_repeats(cls, values: Ratios | tuple[Precision, ...]) -> Ratios | tuple[Precision, ...]:
        if not isinstance(values, str) and len(set(values)) != len(values):
            raise ValueError("expected no repeats")
        return values

    @field_validator("init", "refit")
    @classmethod
    def _as_accuracy_needs_it(cls, value: str | bool, others: ValidationInfo) -> str | bool:
        if others.data.get("accuracy") == "refit" and value in ("from-scratch", False):
            raise ValueError("expected inherited and refitted weights where accuracy is guessed by refit")
        return value

    @field_validator("superblocks")
    @classmethod
    def _of_equal_shares(cls, superblocks: int | None, others: ValidationInfo) -> int | None:
        binning = others.data.get("binning")
        if superblocks is not None and (binning == "stage" or isinstance(binning, Mapping)):
            raise ValueError("expected with a binning by params, macs or latency only")
        return superblocks

    @property
    def accuracy_drop_points(self) -> float | None:
        """The accuracy budget: as set; else 1.0 point where no other budget is set, and none where one is."""
        if self.max_accuracy_drop is not None or self.latency_budget or self.resource_budgets:
            return self.max_accuracy_drop
        return DEFAULT_ACCURACY_DROP

    @property
    def resource_budgets(self) -> dict[Resource, float]:
        """What a model may take of each resource, in its unit; those without a budget are left out."""
        budgets = {MEMORY: self.memory_budget, ENERGY: self.energy_budget}
        return {own: limit for own, limit in budgets.items() if limit is not None}

    @property
    def accuracy_guess(self) -> Accuracy:
        """How accuracy is guessed: as set; else by refit where a latency budget makes it count most."""
        if self.accuracy is not None:
            return self.accuracy
        return "refit" if self.latency_budget and self.refits else "importance"

    @property
    def first_precision(self) -> Precision:
        """What structures are measured in, and what the search goes by."""
        return self.precision[0]

    @property
    def most_rounds(self) -> int | None:
        """Rounds at most: as set; else 2, and no limit where trainings or hours are limited."""
        limited = self.max_trainings is not None or self.max_hours is not None
        return self.rounds or (None if limited else DEFAULT_ROUNDS)

    @property
    def refits(self) -> bool:
        """Whether candidates start with refitted weights."""
        return self.refit and self.init == "inherited"

    def identity(self) -> dict[str, Any]:
        """Return what a resumed run must agree on, as JSON values."""
        return self.model_dump(mode="json", exclude={"out"})

    def agrees_with(self, stored: Mapping[str, Any]) -> bool:
        """Tell whether a stored :meth:`identity` is this one's; keys newer than the store have their defaults there."""
        try:
            return RunConfig.model_validate(stored).identity() == self.identity()
        except ValidationError:
            return False  # of another release, whose keys or values are not ours
