import re
from html.parser import HTMLParser

import pytest

from scbp_host.report import write_html
from scbp_host.report.candidate import FailureRecord
from scbp_host.report.headline import verdict
from scbp_host.report.html import render_html
from scbp_host.report.plots import pareto_svg, ratio_svg
from scbp_host.report.summary import BinningRecord, ClocksRecord

HOSTILE = "<script>alert('x')</script>&\"$x^2$"
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Collects elements, ids, texts by element, and checks that every element is closed in order."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.texts, self.ids, self.open = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        self.ids += [value for name, value in attrs if name == "id"]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if data.strip():
            self.texts.append((self.open[-1] if self.open else "", data.strip()))

    def all(self, tag):
        return [attrs for name, attrs in self.elements if name == tag]

    def said(self, tag):
        return [text for name, text in self.texts if name == tag]


@pytest.fixture
def page(summary):
    return Page(render_html(summary))


def test_every_element_is_closed_and_every_id_is_its_own(page):
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_references_inside_the_page_lead_somewhere(summary, page):
    text = render_html(summary)
    for target in re.findall(r'(?:href="#|url\(#|aria-labelledby=")([^")]+)', text):
        assert target in page.ids


def test_nothing_is_loaded_from_anywhere(summary, page):
    assert not page.all("script")
    assert not page.all("link")
    assert not page.all("img")
    text = render_html(summary)
    # An XML namespace is a name; it is never fetched.
    assert "://" not in re.sub(r'xmlns(:\w+)?="[^"]*"', "", text)
    assert "@import" not in text


def test_the_same_summary_gives_the_same_bytes(summary, tmp_path):
    write_html(summary, tmp_path / "a.html")
    write_html(summary, tmp_path / "b.html")
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


def test_the_verdict_is_the_heading_and_the_reason_follows(summary, page):
    assert page.said("h1") == [
        "0.5/0.25/0.5/0.25 is 3.4× faster and 89 % smaller than resnet18, 0.4 points less accurate on test data."
    ]
    assert summary.best_reason in page.said("p")


def test_every_candidate_has_a_row_the_trained_first_by_latency(summary, page):
    shown = [text for text in page.said("code") if text in {c.id for c in (*summary.candidates, summary.seed)}]
    trained = sorted((c for c in summary.candidates if c.status == "trained"), key=lambda c: c.latency_p50_ms)
    assert shown[0] == summary.seed.id
    assert shown[1:7] == [record.id for record in trained]
    assert len(shown) == len(summary.candidates) + 1


def test_failures_and_warnings_are_told_with_their_reason(page):
    assert "TIMEOUT" in page.said("strong")
    assert "no result within 30 s" in page.said("td")
    assert "raise the deadline in scbp.toml" in page.said("em")
    assert any("powersave" in text for text in page.said("li"))
    assert any("p99 is 31 % above" in text for text in page.said("td"))


def test_what_was_halved_stands_under_its_own_heading_with_its_rung(summary):
    halved = next(own for own in summary.candidates if own.status == "measured")
    halved = halved.model_copy(update={"status": "halved", "rung_epochs": 2, "rung_val_top1": 0.875})
    others = tuple(own for own in summary.candidates if own.id != halved.id)
    page = Page(render_html(summary.model_copy(update={"candidates": (*others, halved)})))
    assert any("Stopped by successive halving" in text for text in page.said("th"))
    assert "not trained on after 2 epochs: 87.5 % validation top-1" in page.said("td")


def test_the_page_is_made_for_everyone(page):
    assert page.all("html") == [{"lang": "en"}]
    assert all("scope" in attrs for attrs in page.all("th"))
    drawings = page.all("svg")
    assert len(drawings) == 2
    assert all(attrs["role"] == "img" and attrs["aria-label"] for attrs in drawings)


def test_both_colour_schemes_reach_into_the_plots(summary):
    css_defined = set(re.findall(r"(--[\w-]+):", render_html(summary)))
    for svg in (pareto_svg(summary), ratio_svg(summary)):
        used = set(re.findall(r"var\((--\w+)\)", svg))
        assert used <= css_defined
        assert {"--ink", "--accent", "--best", "--seed"} <= used
        # What matplotlib draws in a colour of its own would vanish in one of the two schemes.
        assert not re.findall(r"#[0-9a-f]{6}\b", svg)


def test_every_trained_structure_is_in_the_pareto_plot_and_every_measured_one_in_the_other(summary):
    trained = {c.label for c in summary.candidates if c.status == "trained"} | {"resnet18"}
    assert {title.split(":")[0] for title in re.findall("<title>(.*?)</title>", pareto_svg(summary))} == trained
    measured = {c.label for c in summary.candidates if c.latency_ratio is not None}
    assert {title.split(":")[0] for title in re.findall("<title>(.*?)</title>", ratio_svg(summary))} == measured


def test_budgets_are_drawn_where_they_are_set(summary):
    assert "budget 1.20 ms" in pareto_svg(summary)
    assert "budget 97.9 %" in pareto_svg(summary)
    free = summary.model_copy(update={"budgets": type(summary.budgets)()})
    assert "budget" not in pareto_svg(free)


def test_hostile_text_stays_text(summary):
    def poisoned(record):
        failure = FailureRecord(kind=HOSTILE, message=HOSTILE, hint=HOSTILE)
        return record.model_copy(update={"id": HOSTILE + record.id, "warnings": (HOSTILE,), "failure": failure})

    text = render_html(
        summary.model_copy(
            update={
                "run_id": HOSTILE,
                "best_reason": HOSTILE,
                "warnings": (HOSTILE,),
                "command": (HOSTILE,),
                "candidates": tuple(poisoned(record) for record in summary.candidates),
                "model": summary.model.model_copy(update={"factory": HOSTILE}),
                "data": summary.data.model_copy(update={"class_names": (HOSTILE,)}),
                "device": summary.device.model_copy(update={"title": HOSTILE, "facts": {HOSTILE: HOSTILE}}),
                "stage_seconds": {HOSTILE: 1.0},
            }
        )
    )
    page = Page(text)
    assert not page.all("script")
    assert "<script" not in text
    assert HOSTILE in page.said("p")
    assert any(HOSTILE in said for said in page.said("text")), "the plot's legend shows it as it is"


def test_what_everything_was_paired_with_is_told_with_the_seeds_own_uncertainty(summary):
    (told,) = [own for own in Page(render_html(summary)).said("dd") if "0.5/0.5/0.5/0.5" in own]
    for figure in ("0.335 ms", "4.93", "4.46", "5.45", "8 measurements"):
        assert figure in told


def test_a_run_with_nothing_but_a_seed_is_still_a_report(summary):
    bare = summary.model_copy(
        update={
            "best": None,
            "candidates": (),
            "latency_model": None,
            "rounds": (),
            "warnings": (),
            "stage_seconds": {},
            "best_reason": "nothing meets the budgets; the nearest misses by 3 %",
        }
    )
    page = Page(render_html(bare))
    assert page.said("h1") == ["Nothing was found to replace resnet18."]
    assert "nothing meets the budgets; the nearest misses by 3 %" in page.said("p")
    assert not page.all("svg")
    assert "Warnings" not in page.said("h2")


def test_a_seed_without_figures_is_a_row_of_dashes(summary):
    seed = type(summary.seed)(id="5eed", ratios=(1.0, 1.0, 1.0, 1.0), status="reference")
    page = Page(render_html(summary.model_copy(update={"seed": seed})))
    assert page.said("td").count("–") >= 11


def test_superblocks_say_how_they_came_about_and_what_moved(summary):
    moved = "cut 1 for equal shares of macs would be before 'b' and split 'a' (3 layers); it moved to before 'c'"
    binning = BinningRecord(method="latency", moved=(moved,), unattributed_share=0.125)
    page = Page(render_html(summary.model_copy(update={"binning": binning})))
    assert moved in page.said("li")
    assert any("Binned by latency. 12.5 %" in text for text in page.said("p"))
    assert any("Binned by stage." in text for text in Page(render_html(summary)).said("p"))


def test_a_task_of_ones_own_is_reported_by_its_own_metric(summary):
    own = summary.model_copy(update={"data": summary.data.model_copy(update={"metric": "IoU <mean>"})})
    page = Page(render_html(own))
    assert {"Val. IoU <mean>", "Test IoU <mean>"} <= set(page.said("th"))
    assert "top-1" not in render_html(own)


def test_every_time_of_an_emulator_is_labelled(summary):
    assert "mulated" not in render_html(summary)
    device = summary.device.model_copy(update={"emulated": "qemu-user, cortex-a72"})
    emulated = summary.model_copy(update={"device": device})
    page = render_html(emulated)
    assert "by qemu-user, cortex-a72: every time here is the emulator’s, no board’s" in page
    assert "latency p50 (ms, emulated)" in page
    rows = page[page.index("<tbody") :].partition("</table>")[0]
    assert len(re.findall(r"\d ms", rows)) == len(re.findall(r"\d ms emulated", rows)) > 0
    assert verdict(emulated) == f"{verdict(summary)} (Emulated by qemu-user, cortex-a72: no board's times.)"


@pytest.mark.parametrize(
    ("clocks", "said"),
    [
        ({}, "not shown by the board"),
        ({"policy": "DVFS"}, "DVFS"),
        (
            {"asked": True, "policy": "locked", "power_mode": "MAXN"},
            "locked, power mode MAXN; <code>--lock-clocks</code>",
        ),
    ],
)
def test_what_the_clocks_did_is_told(summary, clocks, said):
    device = summary.device.model_copy(update={"clocks": ClocksRecord(**clocks)})
    page = render_html(summary.model_copy(update={"device": device}))
    assert f"<dt>Clocks</dt><dd>{said}</dd>" in page


def test_what_seed_and_best_cost_alone_is_told_phase_by_phase(summary, page):
    assert page.said("td").count("warm load") == 2
    assert "161 MB" not in page.said("td"), "what overlaps is not summed"
    assert page.said("td").count("156 MB") == len(summary.seed.phases)
    reset_refused = [own.model_copy(update={"peak_is_own": False}) for own in summary.seed.phases]
    other = summary.model_copy(update={"seed": summary.seed.model_copy(update={"phases": tuple(reset_refused)})})
    assert "152 MB at most" in Page(render_html(other)).said("td")


def test_what_the_gpus_clock_and_the_runtime_say_of_the_best_is_told(page):
    (told,) = (text for text in page.said("p") if text.startswith("Best:"))
    assert "compute" in told
    assert "built with a workspace of 256 MB" in told


def test_a_run_of_an_older_version_has_no_phases_to_show(summary):
    seed = summary.seed.model_copy(update={"phases": ()})
    assert "alone" not in Page(render_html(summary.model_copy(update={"seed": seed}))).ids


def test_a_cameras_rate_is_told(summary):
    assert "timed at 30.0 Hz" in render_html(summary.model_copy(update={"rate_hz": 30.0}))
    assert "timed at" not in render_html(summary)
