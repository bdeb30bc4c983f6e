"""The benches are not type-checked, and run by hand: what is renamed elsewhere must not break them silently."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

BENCHES = Path(__file__).parents[1] / "bench"
NAMES = sorted(path.stem for path in BENCHES.glob("*.py"))


@pytest.fixture(scope="module", autouse=True)
def found_like_a_script() -> Iterator[None]:
    """Let benches find each other as they do when one is run; nothing of them stays behind for other tests."""
    before = {*sys.modules}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHES))
        yield
    for name in ({*sys.modules} - before) & {*NAMES}:
        del sys.modules[name]


@pytest.fixture
def bench(name: str) -> ModuleType:
    """The bench, imported."""
    return importlib.import_module(name)


@pytest.mark.parametrize("name", NAMES)
def test_what_a_bench_imports_is_there(bench: ModuleType) -> None:
    assert Path(str(bench.__file__)).parent == BENCHES


@pytest.mark.parametrize("name", [own for own in NAMES if "__main__" in (BENCHES / f"{own}.py").read_text("utf-8")])
def test_a_bench_says_how_it_is_used(
    bench: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as ended:
        bench.main()
    assert not ended.value.code
    assert "--json" in capsys.readouterr().out
