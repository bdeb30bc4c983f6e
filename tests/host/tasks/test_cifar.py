from __future__ import annotations

import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from scbp_host.errors import DataError, UsageError
from scbp_host.tasks import splitting
from scbp_host.tasks.base import Split, Task
from scbp_host.tasks.datasets import load_task

SHAPE = (3, 32, 32)
PER_BATCH = {"cifar10": 20, "cifar100": 200}
NAMES = {"cifar10": 10, "cifar100": 100}

Batch = tuple[NDArray[np.uint8], NDArray[np.int64]]


def batch(name: str, number: int) -> Batch:
    """Noise whose very first pixel says in which batch it is (red) and its label (green)."""
    random = np.random.RandomState(number)
    labels = np.arange(PER_BATCH[name]) % NAMES[name]
    pixels = random.randint(0, 256, (len(labels), 3, 32, 32)).astype(np.uint8)
    pixels[:, 0, 0, 0], pixels[:, 1, 0, 0] = number, labels
    return pixels, labels


def files(name: str) -> dict[str, Batch]:
    numbers = range(5) if name == "cifar10" else range(1)
    names = [f"data_batch_{number + 1}" for number in numbers] if name == "cifar10" else ["train"]
    own = {file: batch(name, number) for number, file in enumerate(names)}
    return own | {"test_batch" if name == "cifar10" else "test": batch(name, 99)}


def write_binary(name: str, folder: Path) -> Path:
    """Write the binary form as its authors describe it: label (CIFAR-100: coarse, fine), then red, green, blue."""
    folder.mkdir()
    for file, (pixels, labels) in files(name).items():
        coarse = [] if name == "cifar10" else [np.full((len(labels), 1), 7, np.uint8)]
        rows = np.concatenate([*coarse, labels[:, None].astype(np.uint8), pixels.reshape(len(labels), -1)], axis=1)
        (folder / f"{file}.bin").write_bytes(rows.tobytes())
    meta = "batches.meta.txt" if name == "cifar10" else "fine_label_names.txt"
    (folder / meta).write_text("".join(f"class{label}\n" for label in range(NAMES[name])) + "\n")
    return folder


def python2_string(text: bytes) -> bytes:
    return b"U" + bytes([len(text)]) + text if len(text) < 256 else b"T" + struct.pack("<i", len(text)) + text


def python2_list(items: list[bytes]) -> bytes:
    """Write a list as Python 2's cPickle does: groups of 1,000, a single item by itself."""
    groups = [items[start : start + 16] for start in range(0, len(items), 16)]
    return b"]q\x05" + b"".join(own[0] + b"a" if len(own) == 1 else b"(" + b"".join(own) + b"e" for own in groups)


def python2_array(pixels: NDArray[np.uint8], fortran: bool) -> bytes:
    rows = pixels.reshape(len(pixels), -1)
    return (
        b"cnumpy.core.multiarray\n_reconstruct\nq\x07cnumpy\nndarray\nq\x08K\x00\x85q\tU\x01b\x87q\nRq\x0b"
        b"(K\x01M" + struct.pack("<H", len(rows)) + b"M\x00\x0c\x86q\x0ccnumpy\ndtype\nq\rU\x02u1K\x00K\x01\x87Rq\x0e"
        b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        + (b"\x88" if fortran else b"\x89")
        + python2_string(rows.T.tobytes() if fortran else rows.tobytes())
        + b"q\x0ftb"
    )


def write_pickled(name: str, folder: Path, fortran: bool = False) -> Path:
    """Write the pickled form byte by byte, as Python 2 wrote the published files."""
    folder.mkdir()
    key, names_key = ("labels", "label_names") if name == "cifar10" else ("fine_labels", "fine_label_names")
    for file, (pixels, labels) in files(name).items():
        entries = [
            python2_string(b"batch_label") + python2_string(b"one of several"),
            python2_string(key.encode()) + python2_list([b"K" + bytes([label]) for label in labels]),
            python2_string(b"data") + python2_array(pixels, fortran),
            python2_string(b"filenames") + python2_list([python2_string(b"cat.png")] * len(labels)),
        ]
        (folder / file).write_bytes(b"\x80\x02}q\x01(" + b"".join(entries) + b"u.")
    names = [python2_string(f"class{label}".encode()) for label in range(NAMES[name])]
    meta = b"\x80\x02}q\x01(" + python2_string(b"num_vis") + b"M\x00\x0c"
    meta += python2_string(names_key.encode()) + python2_list(names) + b"u."
    (folder / ("batches.meta" if name == "cifar10" else "meta")).write_bytes(meta)
    return folder


def marks(task: Task, split: Split) -> list[tuple[int, int]]:
    """Return of each image its batch and label, from its first pixel."""
    first = split.images[:, :2, 0, 0] * np.array(task.normalization.std[:2]) + np.array(task.normalization.mean[:2])
    return [(int(red), int(green)) for red, green in np.rint(first * 255)]


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_images_labels_and_the_test_split_are_its_own(name: str, write, tmp_path: Path) -> None:
    task = load_task(f"{name}:{write(name, tmp_path / 'own')}", SHAPE)
    assert task.class_names == tuple(f"class{label}" for label in range(NAMES[name]))
    for split in (task.train, task.validation, task.held_out):
        assert [label for _, label in marks(task, split)] == split.labels.tolist()
    assert {number for number, _ in marks(task, task.held_out)} == {99}
    assert 99 not in {number for number, _ in marks(task, task.train) + marks(task, task.validation)}
    assert task.sizes.test == PER_BATCH[name]
    assert task.sizes.validation == NAMES[name]  # a tenth of each class, and one image at least


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_both_forms_are_the_same_data(name: str, tmp_path: Path) -> None:
    forms = [write_binary(name, tmp_path / "a"), write_pickled(name, tmp_path / "b")]
    forms.append(write_pickled(name, tmp_path / "c", fortran=True))
    tasks = [load_task(f"{name}:{form}", SHAPE) for form in forms]
    assert len({task.split_sha256 for task in tasks}) == 1
    assert all(np.array_equal(task.train.images, tasks[0].train.images) for task in tasks)


@pytest.mark.parametrize("archive", ["cifar-10-batches-bin", "cifar-10-batches-py"])
def test_the_folder_above_the_archive_will_do(archive: str, tmp_path: Path) -> None:
    write = write_binary if archive.endswith("bin") else write_pickled
    write("cifar10", tmp_path / archive)
    assert load_task(f"cifar10:{tmp_path}", SHAPE).sizes.test == 20


def test_the_hand_written_pickles_are_what_pickle_itself_reads(tmp_path: Path) -> None:
    write_pickled("cifar10", tmp_path / "own")
    loaded = pickle.loads((tmp_path / "own" / "data_batch_2").read_bytes(), encoding="latin1")
    pixels, labels = batch("cifar10", 1)
    assert np.array_equal(loaded["data"].reshape(-1, 3, 32, 32), pixels)
    assert loaded["labels"] == labels.tolist()


def test_a_pickle_that_would_run_a_program_does_not(tmp_path: Path) -> None:
    folder = write_pickled("cifar10", tmp_path / "own")
    program = b"\x80\x02cos\nmkdir\n(" + python2_string(bytes(tmp_path / "ran")) + b"tR"
    (folder / "data_batch_1").write_bytes(program + b".")
    with pytest.raises(DataError, match="data_batch_1: not a file of cifar10"):
        load_task(f"cifar10:{folder}", SHAPE)
    assert not (tmp_path / "ran").exists()
    pickle.loads(program + b".")
    assert (tmp_path / "ran").exists()


def test_other_shapes(tmp_path: Path) -> None:
    folder = write_binary("cifar10", tmp_path / "own")
    assert load_task(f"cifar10:{folder}", (1, 24, 20)).train.images.shape == (90, 1, 24, 20)


def test_what_memory_does_not_hold_is_streamed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = f"cifar10:{write_binary('cifar10', tmp_path / 'own')}"
    held = load_task(data, (3, 40, 40))
    monkeypatch.setattr(splitting, "MAX_BYTES", 1000)
    streamed = load_task(data, (3, 40, 40))
    assert not isinstance(streamed.train, Split)
    assert streamed.split_sha256 == held.split_sha256
    few = np.array([2, 0])
    np.testing.assert_allclose(streamed.held_out.part(few).images, held.held_out.part(few).images, atol=1e-4)


def test_cifar_is_cropped_and_flipped(tmp_path: Path) -> None:
    task = load_task(f"cifar10:{write_binary('cifar10', tmp_path / 'own')}", SHAPE)
    row = torch.arange(32.0).expand(64, 3, 32, 32)
    moved = task.augment(row, torch.Generator().manual_seed(0))
    assert 10 < int((moved[:, 0, 0, 0] > moved[:, 0, 0, 31]).sum()) < 54


@pytest.mark.parametrize("content", [b"", b"\x00" * 3072, b"no pickle"])
@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_a_damaged_file_is_named(write, content: bytes, tmp_path: Path) -> None:
    folder = write("cifar10", tmp_path / "own")
    path = next(path for path in folder.iterdir() if path.name.startswith("data_batch_3"))
    path.write_bytes(content)
    with pytest.raises(DataError, match="data_batch_3") as caught:
        load_task(f"cifar10:{folder}", SHAPE)
    assert "--data cifar10:FOLDER" in caught.value.hint


@pytest.mark.parametrize("gone", ["data_batch_3", "batches.meta"])
@pytest.mark.parametrize("write", [write_binary, write_pickled])
def test_a_missing_file_is_named(write, gone: str, tmp_path: Path) -> None:
    folder = write("cifar10", tmp_path / "own")
    next(path for path in folder.iterdir() if path.name.startswith(gone)).unlink()
    with pytest.raises(DataError, match=gone):
        load_task(f"cifar10:{folder}", SHAPE)


def test_a_folder_without_cifar_says_what_was_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="expected cifar-10-batches-bin or cifar-10-batches-py") as caught:
        load_task(f"cifar10:{tmp_path}", SHAPE)
    assert "nothing is downloaded" in caught.value.hint


def test_a_name_without_its_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected cifar100:FOLDER"):
        load_task("cifar100", SHAPE)
