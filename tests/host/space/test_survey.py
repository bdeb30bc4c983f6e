from __future__ import annotations

from pathlib import Path

import pytest

from scbp_host.errors import UsageError
from scbp_host.space.seeds import seed_spec
from scbp_host.space.survey import require_classifier, survey_seed

FACTORIES = """
from torch import nn

def maps(num_classes):
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, num_classes, 3))

def classifier(num_classes):
    return nn.Sequential(maps(num_classes), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture
def factories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "surveyed_factories.py").write_text(FACTORIES, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    return "surveyed_factories"


def test_a_classifier_puts_out_one_logit_for_each_class(factories: str) -> None:
    survey = survey_seed(seed_spec(f"{factories}:classifier", 7, (3, 8, 8)))
    assert survey.outputs == (7,)
    require_classifier(survey)


def test_a_network_that_puts_out_maps_is_surveyed_and_is_no_classifier(factories: str) -> None:
    survey = survey_seed(seed_spec(f"{factories}:maps", 7, (3, 8, 8)))
    assert survey.outputs == (7, 4, 4)
    with pytest.raises(UsageError, match=rf"{factories}:maps' puts out \(7, 4, 4\).*expected.*\(7,\)") as caught:
        require_classifier(survey)
    assert "--data package.module:function" in caught.value.hint


def test_torchvisions_dense_networks_are_no_classifiers() -> None:
    with pytest.raises(UsageError, match=r"lraspp_mobilenet_v3_large.*\(7, 32, 32\)"):
        require_classifier(survey_seed(seed_spec("lraspp_mobilenet_v3_large", 7, (3, 32, 32))))
