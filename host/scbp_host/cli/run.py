"""scbp-host run: the whole loop."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from scbp_host.cli.console import err, out, print_json
from scbp_host.cli.flags import (
    Config,
    EnergyBudget,
    InputShape,
    LatencyBudget,
    MemoryBudget,
    Model,
    Ratios,
    SummaryJson,
    Superblocks,
    Wait,
    parse_ratios,
    parse_shape,
)
from scbp_host.cli.progress import RunProgress
from scbp_host.config import RunConfig, load_config


def run(
    device: Annotated[str | None, typer.Option(help="Profile name, or a PROFILE.toml; see: devices list.")] = None,
    model: Model = None,
    data: Annotated[
        str | None,
        typer.Option(help="digits, textures, cifar10:FOLDER, cifar100:FOLDER, a folder, or package.module:function."),
    ] = None,
    augment: Annotated[
        str | None, typer.Option(help="none, shift, crop-flip or resized-crop-flip; by default what suits the data.")
    ] = None,
    max_corrupt_images: Annotated[
        int | None, typer.Option(help="So many unreadable images of a folder are left out (1 % of them).")
    ] = None,
    weights: Annotated[Path | None, typer.Option(help="The seed's trained weights (.safetensors).")] = None,
    input_shape: InputShape = None,
    binning: Annotated[
        str | None, typer.Option(help="Superblocks by stage, or of equal shares of params, macs or latency (stage).")
    ] = None,
    superblocks: Superblocks = None,
    ratios: Ratios = None,
    ci_width: Annotated[
        str | None, typer.Option(help="Time models until the ratio's interval is narrower: 1%.")
    ] = None,
    max_seconds: Annotated[float | None, typer.Option(help="Time no round of models for longer.")] = None,
    together: Annotated[
        int | None, typer.Option(help="Structures that share a round with the reference, and it (2).")
    ] = None,
    builds: Annotated[
        int | None, typer.Option(help="Engines built of each trained network (3, TensorRT alone).")
    ] = None,
    rate: Annotated[str | None, typer.Option(help="Time models at a camera's rate, e.g. 30hz.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="What networks are exported in: fp32, fp16, int8, uint8, e.g. fp32,int8 (fp32).")
    ] = None,
    latency_budget: LatencyBudget = None,
    memory_budget: MemoryBudget = None,
    energy_budget: EnergyBudget = None,
    max_accuracy_drop: Annotated[
        float | None, typer.Option(help="Points of validation top-1 below the seed; 1.0 where no budget is set.")
    ] = None,
    strategy: Annotated[
        str | None, typer.Option(help="Choose by guided, one_shot, random, uniform, nsga2, tpe or gp (guided).")
    ] = None,
    measure: Annotated[int | None, typer.Option(help="Structures measured before training (32).")] = None,
    train: Annotated[int | None, typer.Option(help="Candidates trained in each round (6).")] = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of propose, measure, train (2).")] = None,
    max_trainings: Annotated[int | None, typer.Option(help="End the search after so many trainings.")] = None,
    max_hours: Annotated[float | None, typer.Option(help="End the search after so many hours.")] = None,
    min_improvement: Annotated[
        float | None, typer.Option(help="Guided: end it where a round promises a smaller share (0.001).")
    ] = None,
    decide_seconds: Annotated[
        float | None, typer.Option(help="At the end, measure again what decides the order, at most so long (30).")
    ] = None,
    seed_epochs: Annotated[int | None, typer.Option(help="Epochs of the seed's training.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Epochs of each candidate's training.")] = None,
    init: Annotated[str | None, typer.Option(help="Candidates start: inherited (default) or from-scratch.")] = None,
    from_scratch: Annotated[bool, typer.Option("--from-scratch", help="Short for --init from-scratch.")] = False,
    importance: Annotated[
        str | None, typer.Option(help="Which channels are inherited: l1, l2, bn-scale, taylor or random (l1).")
    ] = None,
    refit: Annotated[bool | None, typer.Option(help="First fit inherited layers to the seed's outputs.")] = None,
    distill: Annotated[bool | None, typer.Option(help="Learn from the seed's answers beside the labels.")] = None,
    distill_temperature: Annotated[float | None, typer.Option(help="Softens both answers (4).")] = None,
    distill_weight: Annotated[float | None, typer.Option(help="The seed's share of the loss (0.5).")] = None,
    accuracy: Annotated[
        str | None,
        typer.Option(help="Guess accuracies by importance, refit, or a slimmable seed: supernet (by the budget)."),
    ] = None,
    supernet_epochs: Annotated[int | None, typer.Option(help="Epochs of the slimmable seed's training.")] = None,
    halving: Annotated[
        int | None, typer.Option(help="Drop the worse half after so many epochs, and each time they have doubled.")
    ] = None,
    train_workers: Annotated[int | None, typer.Option(help="Candidates trained at the same time (1).")] = None,
    compile: Annotated[bool | None, typer.Option(help="Train through torch.compile.")] = None,
    lock_clocks: Annotated[
        bool | None, typer.Option(help="Hold the board's clocks while it measures, as its profile says.")
    ] = None,
    random_seed: Annotated[int | None, typer.Option(help="Decides everything that is drawn (0).")] = None,
    runs: Annotated[Path | None, typer.Option("--out", help="Folder of the store and the runs (runs).")] = None,
    config: Config = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the newest unfinished run like this.")] = False,
    wait: Wait = 0.0,
    json: SummaryJson = False,
) -> None:
    """Derive, measure, train, measure again, rank, report."""
    flags: dict[str, Any] = {
        "device": device,
        "model": model,
        "data": data,
        "augment": augment,
        "max_corrupt_images": max_corrupt_images,
        "weights": weights,
        "input_shape": parse_shape(input_shape),
        "binning": binning,
        "superblocks": superblocks,
        "ratios": parse_ratios(ratios),
        "ci_width": ci_width,
        "max_seconds": max_seconds,
        "together": together,
        "builds": builds,
        "rate": rate,
        "precision": None if precision is None else precision.split(","),
        "latency_budget": latency_budget,
        "memory_budget": memory_budget,
        "energy_budget": energy_budget,
        "max_accuracy_drop": max_accuracy_drop,
        "strategy": strategy,
        "measure": measure,
        "train": train,
        "rounds": rounds,
        "max_trainings": max_trainings,
        "max_hours": max_hours,
        "min_improvement": min_improvement,
        "decide_seconds": decide_seconds,
        "seed_epochs": seed_epochs,
        "epochs": epochs,
        "init": "from-scratch" if from_scratch else init,
        "importance": importance,
        "refit": refit,
        "distill": distill,
        "distill_temperature": distill_temperature,
        "distill_weight": distill_weight,
        "accuracy": accuracy,
        "supernet_epochs": supernet_epochs,
        "halving": halving,
        "train_workers": train_workers,
        "compile": compile,
        "lock_clocks": lock_clocks,
        "random_seed": random_seed,
        "out": runs,
    }
    # A console script does not look for modules where it is started; package.module:function should be found there.
    sys.path.append(str(Path.cwd()))
    _run(load_config(config, flags), resume=resume, wait_s=wait, json=json)


def _run(config: RunConfig, *, resume: bool, wait_s: float, json: bool) -> None:
    from scbp_host import pipeline  # torch takes seconds to import: a wrong flag should not have to wait for it
    from scbp_host.cli.tables import check_feasible, show_summary

    with RunProgress(err) as progress:
        result = pipeline.run(config, progress, resume=resume, command=["scbp-host", *sys.argv[1:]], wait_s=wait_s)
    if json:
        print_json(result.summary.model_dump(mode="json"))
    else:
        show_summary(result.summary, out)
        out.print(f"report: {result.folder / pipeline.REPORT_FILE}", soft_wrap=True)
    check_feasible(result.summary)
