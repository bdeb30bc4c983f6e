import pytest

from scbp_host.report import figures
from scbp_host.report.headline import cards, certainty, energy_line, searched, verdict


def with_best(summary, **changes):
    return summary.model_copy(update={"best": summary.best.model_copy(update=changes)})


def test_the_verdict_says_speed_size_and_accuracy(summary):
    fast = with_best(summary, latency_ratio=0.4762, latency_ratio_ci95=(0.47, 0.48), onnx_bytes=8_060_000)
    assert verdict(fast) == (
        "0.5/0.25/0.5/0.25 is 2.1× faster and 82 % smaller than resnet18, 0.4 points less accurate on test data."
    )


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"latency_ratio": 0.98, "latency_ratio_ci95": (0.95, 1.01)}, "is not measurably faster and"),
        ({"latency_ratio": 1.5, "latency_ratio_ci95": (1.4, 1.6)}, "is 1.5× slower and"),
        ({"onnx_bytes": 50_000_000}, "12 % larger than"),
        ({"test_top1": 0.9833}, "as accurate on test data"),
        ({"test_top1": 0.9900}, "0.7 points more accurate on test data"),
        ({"test_top1": None}, "0.8 points less accurate on validation data"),
        ({"test_top1": None, "val_top1": None}, "than resnet18."),
        ({"latency_ratio": None, "onnx_bytes": None}, "0.5/0.25/0.5/0.25, 0.4 points less"),
    ],
)
def test_the_verdict_claims_no_more_than_was_measured(summary, changes, said):
    assert said in verdict(with_best(summary, **changes))


def test_it_says_how_sure_the_best_is(summary):
    assert certainty(summary).startswith(
        "on the front with 90%, within the latency budget with 80%, within the energy budget with 100%, within the acc"
    )
    assert "tied" not in certainty(summary)
    twin = summary.candidates[-1].model_copy(update={"tied_with_best": True})
    assert certainty(summary.model_copy(update={"candidates": (twin,)})).endswith(
        "tied with 1 more, which neither latency nor accuracy tells apart from it"
    )
    assert certainty(with_best(summary, chances=None)) == ""
    assert certainty(summary.model_copy(update={"best": None})) == ""


@pytest.mark.parametrize(
    ("size", "interval", "pool", "said"),
    [
        (256, None, None, "of 256 structures looked at"),
        (256, None, 255, "of 256 structures looked at"),
        (255, None, 255, "of 255 structures looked at"),
        (10**12, None, 4096, "of 1,000,000,000,000 structures looked at, chosen from a uniform sample of 4,096"),
        (
            5000,
            (4000, 6000),
            4096,
            "of about 5,000 (4,000 to 6,000) structures looked at, chosen from a uniform sample",
        ),
        (0, (0, 9), 3, "of about 0 (0 to 9) structures looked at, chosen from a uniform sample of 3"),
    ],
)
def test_how_much_of_the_space_was_looked_at_is_said(summary, size, interval, pool, said):
    own = summary.model_copy(update={"space_size": size, "space_size_ci95": interval, "pool_size": pool})
    assert searched(own).startswith(f"{len(summary.candidates)} {said}")
    assert ("sample" in searched(own)) == ("sample" in said)


def test_no_best_and_the_seed_as_best_are_said(summary):
    nothing = summary.model_copy(update={"best": None})
    itself = summary.model_copy(update={"best": summary.seed})
    assert verdict(nothing) == "Nothing was found to replace resnet18."
    assert verdict(itself).startswith("resnet18 itself is the best choice")
    for case in (nothing, itself):
        assert [card.value for card in cards(case)][:2] == ["2.31 ms", "44.8 MB"]
        assert not any(card.change or card.reference for card in cards(case))


def test_cards_set_the_best_beside_the_seed(summary):
    by_title = {card.title: card for card in cards(summary)}
    memory = by_title["Peak memory"]
    assert (memory.value, memory.reference, memory.change, memory.better) == ("67.9 MB", "152 MB", "−55 %", True)
    accuracy = by_title["Accuracy, test"]
    assert (accuracy.value, accuracy.change, accuracy.better) == ("98.0 %", "−0.4 points", False)
    assert "0.291–0.300" in by_title["Latency, p50"].note


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (figures.ms(0.5123), "0.512 ms"),
        (figures.ms(23.94), "23.9 ms"),
        (figures.ms(1210.4), "1,210 ms"),
        (figures.ms(None), "–"),
        (figures.interval(None), "–"),
        (figures.size_bytes(16_612), "16.6 KB"),
        (figures.size_bytes(44_779_512), "44.8 MB"),
        (figures.size_bytes(12), "12 bytes"),
        (figures.count(11_181_642), "11.2 M"),
        (figures.duration(59.94), "59.9 s"),
        (figures.duration(122.4), "2 min 02 s"),
        (figures.change(1.0, 1.0), "±0 %"),
        (figures.change(1.0, None), ""),
        (figures.points(0.98, 0.984), "−0.4 points"),
        (figures.drop(0.01), "1.0 points"),
    ],
)
def test_figures_read_well(shown, expected):
    assert shown == expected


def test_energy_is_a_key_figure_where_the_board_tells_it(summary):
    card = next(card for card in cards(summary) if card.title.startswith("Energy"))
    assert (card.reference, card.better) == ("30.0 mJ", True)
    assert "VDD_IN by INA3221, hwmon" in card.note
    assert energy_line(summary).endswith("resnet18 30.0 mJ; VDD_IN by INA3221, hwmon")
    silent = with_best(summary, energy=None)
    assert not any(card.title.startswith("Energy") for card in cards(silent))
    seed = summary.seed.model_copy(update={"energy": None})
    assert energy_line(silent.model_copy(update={"seed": seed})) == ""


def test_the_latency_card_names_the_rate(summary):
    assert cards(summary.model_copy(update={"rate_hz": 30.0}))[0].title == "Latency at 30 Hz, p50"
