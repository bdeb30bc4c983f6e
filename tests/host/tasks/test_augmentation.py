from __future__ import annotations

from typing import get_args

import pytest
import torch

from scbp_host.config import Augment
from scbp_host.tasks.augmentation import make_augmentation, shift_randomly

NAMES: tuple[Augment, ...] = get_args(Augment)


def grid(count: int, height: int, width: int) -> torch.Tensor:
    """Images (count, 2, height, width) in which every pixel carries its own row and column."""
    rows, columns = torch.meshgrid(torch.arange(float(height)), torch.arange(float(width)), indexing="ij")
    return torch.stack([rows, columns]).expand(count, 2, height, width)


@pytest.mark.parametrize("name", NAMES)
def test_every_augmentation_is_drawn_from_its_generator_alone(name: Augment) -> None:
    images = grid(32, 12, 10).clone()
    before, state = images.clone(), torch.get_rng_state()
    augment = make_augmentation(name, (12, 10))
    first = augment(images, torch.Generator().manual_seed(1))
    torch.rand(1)
    again, other = (augment(images, torch.Generator().manual_seed(seed)) for seed in (1, 2))
    assert first.shape == images.shape
    assert torch.equal(first, again)
    assert torch.equal(first, other) == (name == "none")
    assert torch.equal(images, before)
    torch.set_rng_state(state)


@pytest.mark.parametrize("name", NAMES)
def test_the_global_generator_stays_as_it_was(name: Augment) -> None:
    state = torch.get_rng_state()
    make_augmentation(name, (8, 8))(grid(4, 8, 8), torch.Generator().manual_seed(3))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("name", NAMES)
def test_images_of_a_single_pixel_pass(name: Augment) -> None:
    images = torch.ones(3, 1, 1, 1)
    assert torch.equal(make_augmentation(name, (1, 1))(images, torch.Generator().manual_seed(0)), images)


def test_shift_moves_whole_pixels_by_at_most_the_limit_each_image_its_own() -> None:
    images = grid(200, 6, 8)
    moved = shift_randomly(images, 2, torch.Generator().manual_seed(0))
    offsets = moved[:, :, 2, 2] - images[:, :, 2, 2]
    assert moved.shape == images.shape
    assert {tuple(offset) for offset in offsets.tolist()} == {(y, x) for y in range(-2, 3) for x in range(-2, 3)}
    rows = (torch.arange(6.0) + offsets[:, :1]).clamp(0, 5)
    columns = (torch.arange(8.0) + offsets[:, 1:]).clamp(0, 7)
    assert torch.equal(moved[:, 0], rows[:, :, None].expand(-1, 6, 8))
    assert torch.equal(moved[:, 1], columns[:, None, :].expand(-1, 6, 8))


def test_crop_flip_moves_by_an_eighth_of_each_side_and_mirrors_half_of_the_images() -> None:
    moved = make_augmentation("crop-flip", (16, 32))(grid(300, 16, 32), torch.Generator().manual_seed(0))
    middle = moved[:, :, 8, 15:17]  # two neighbours, away from any edge
    mirrored = middle[:, 1, 0] > middle[:, 1, 1]
    assert 0.4 < mirrored.float().mean() < 0.6
    assert (middle[:, 0, 0] - 8).unique().tolist() == [-2, -1, 0, 1, 2]
    columns = middle[:, 1].amin(dim=1)  # of a mirrored image, the same pair stands in the middle
    assert (columns - 15).unique().tolist() == list(range(-4, 5))


def test_resized_crop_flip_keeps_the_least_area() -> None:
    images = grid(300, 32, 32)
    moved = make_augmentation("resized-crop-flip", (32, 32))(images, torch.Generator().manual_seed(0))
    spans = moved.amax(dim=(2, 3)) - moved.amin(dim=(2, 3)) + 1  # (n, 2): rows and columns still seen
    areas = spans.prod(dim=1) / 32**2
    assert 0.3 < areas.min() < 0.5
    assert areas.max() > 0.85
    left, right = moved[:, 1, 16, 4], moved[:, 1, 16, 27]
    assert 0.4 < (left > right).float().mean() < 0.6
