from __future__ import annotations

import math
import re
import shutil
from html.parser import HTMLParser
from io import StringIO

import numpy as np
import pytest
from rich.console import Console

from kinema.evaluation import report as page
from kinema.evaluation import tables, verdicts
from kinema.evaluation.plots import Line, plot

HOSTILE = (
    "a man </figcaption><script>window.hacked = 1</script><img src=x onerror='hacked=1'> {{title}} \"bows\" & $x_1$"
)
HASH = "0123456789abcdef" * 4
MACHINE = {"processor": "a <fast> one", "cores": 2, "memory": 4 * 2**30, "python": "3.12", "torch": "2.9",
           "load_average": [0.5, 0.5, 0.5]}  # fmt: skip
VOID = {"meta", "link", "br", "img"}


def make_cost(names):
    def row(name, seconds):
        wall = {"p50": seconds, "p95": 1.1 * seconds, "p99": 1.2 * seconds}
        return {
            "name": name, "aits": seconds, "wall": wall, "text": 0.01, "first_frame": wall, "real_time_factor": 0.01,
            "cpu": seconds, "peak_memory": 512_000_000, "above_torch": 64_000_000, "parameters": 5_250_000,
            "calls": 30 + len(name), "without_text": seconds - 0.01, "ratio": {"wall": seconds / 0.0625},
            "disk": None if name == "retrieval" else 10_400_000,
            "lengths": [{"seconds": 1.0, "wall": seconds / 5, "reason": None},
                        {"seconds": 10.0, "wall": seconds, "reason": None},
                        {"seconds": 60.0, "wall": None, "reason": "at most 20 s"}],
            "batches": [{"batch": 1, "wall": seconds, "reason": None},
                        {"batch": 4, "wall": 3 * seconds, "reason": None}],
        }  # fmt: skip

    rows = [row(name, 0.0625 * 4**number) for number, name in enumerate(names)]
    settings = [{"name": name, "entrants": rows} for name in ("1 thread", "2 threads")]
    return {"machine": MACHINE, "protocol": {"seconds": 9.8}, "settings": settings}


def make_report():
    """Real motion, retrieval and two models, the first of which is clearly better on R@3 and not clearly on FID."""
    names = ["real", "retrieval", "fractal", "slow"]
    rows = {
        "real": {"R@1": [0.9, 0.01], "R@3": [0.98, 0.01], "fid": [0.0, 0.0], "fid_halves": [2.125, 0.0625],
                 "diversity": [12.0, 0.1],
                 "multimodality": "real motion has one clip a text", "skating": [0.05, 0.001]},
        "retrieval": {"R@1": [0.8, 0.01], "R@3": [0.96, 0.01], "fid": [1.0, 0.1], "diversity": [12.5, 0.1]},
        "fractal": {"R@1": [0.75, 0.01], "R@3": [0.882, 0.02], "fid": [1.87, 0.3],
                    "fid_halves": [3.25, 0.25], "diversity": [11.5, 0.1], "multimodality": [1.5, 0.1],
                    "skating": [0.06, 0.001], "skating_raw": [0.1, 0.002], "weighted_skating_raw": [0.02, 0.002]},
        "slow": {"R@1": [0.72, 0.03], "R@3": [0.7, 0.02], "fid": [2.21, 0.1], "diversity": [14.0, 0.1],
                 "multimodality": [1.6, 0.1], "skating": [0.1, 0.001]},
    }  # fmt: skip
    curves = {name: [1 - 0.2 * 0.8**k for k in range(32)] for name in names}
    split = {"n": 254, "labels": 120, "sha256": "f00d" * 16, "rows": rows, "curves": curves}
    return {
        "command": "kinema evaluate fractal --repeats 5", "repeats": 5, "seeds": "seeded by the repeat", "notes": [],
        "machine": MACHINE,
        "evaluator": {"sha256": HASH, "folder": "weights/evaluator"},
        "corpora": [{"name": "walks", "sha256": HASH[::-1], "licence": "CC0", "source": "constructed"}],
        "entrants": {
            name: {"title": f"{name} one", "sha256": None if number < 2 else HASH, "parameters": None, "bytes": None,
                   "licence": "CC0", "settings": ""}
            for number, name in enumerate(names)
        },
        "splits": {"test": split, "compositional": {**split, "n": 77, "sha256": "cafe" * 16}},
        "cost": make_cost(names[1:]),
        "strips": [],
    }  # fmt: skip


def terminal(report):
    console = Console(width=200, record=True, file=StringIO())
    console.print(tables.console(report))
    return console.export_text()


class Page(HTMLParser):
    """Reads a page strictly: every element is closed in its turn. Tables as rows of texts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.rows: list[list[str]] = []
        self.bold: list[str] = []
        self.titles: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        assert len(self.ids) == len(set(self.ids))

    def handle_starttag(self, tag, attrs):
        self.handle_startendtag(tag, attrs)
        if tag not in VOID:
            self.open.append(tag)
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th"):
            self.rows[-1].append("")

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in {"src", "href", "action"}]
        self.ids += [value for name, value in attrs if name == "id"]
        self.titles += [value for name, value in attrs if name == "title"]

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if {"td", "th"} & set(self.open):
            self.rows[-1][-1] += data.replace("\xa0", " ")
        if self.open and self.open[-1] == "b":
            self.bold.append(data)


@pytest.fixture(scope="module")
def written(walk, tmp_path_factory):
    """(text of the page, how it reads) of a report with a hostile prompt and title, and a strip of two entrants."""
    report = make_report()
    report["strips"] = [{"text": HOSTILE, "seconds": 3.0}]
    report["entrants"]["slow"]["title"] = HOSTILE
    path = tmp_path_factory.mktemp("report") / "report.html"
    page.write(report, {"real": [walk], "fractal": [walk]}, path)
    text = path.read_text(encoding="utf-8")
    return path, text, Page(text)


def test_page_holds_the_numbers_and_where_they_come_from(written):
    _, text, read = written
    row = next(row for row in read.rows if row[0] == "fractal one")
    assert row[1:] == ["0.750 ± 0.010", "0.882 ± 0.020", "1.87 ± 0.30", "3.25 ± 0.25", "11.50 ± 0.10", "1.50 ± 0.10"]
    for said in (
        "f00d" * 16,
        "cafe" * 16,
        "254 clips",
        "77 clips",
        "5 repeats",
        HASH,
        HASH[::-1],
        "CC0",
        "kinema evaluate fractal --repeats 5",
    ):
        assert said in text
    # cost: seconds, MB, millions
    assert [row[1:3] for row in read.rows if row[0] == "fractal one"][4] == ["37", "0.250"]
    assert any(row[-4:] == ["512", "64", "5.25", "10.4"] for row in read.rows)
    assert "svg" in read.tags
    assert "chance" in text


def test_page_needs_nothing_else_and_no_text_breaks_out(written):
    _, text, read = written
    assert all(address.startswith(("data:", "#")) for address in read.addresses)
    assert not re.search(r"https?://|@import|url\((?!#)", text)
    assert "script" not in read.tags
    assert read.tags.count("img") == 2  # the strips
    assert "&lt;script&gt;window.hacked" in text
    assert "{{title}}" in text  # of the prompt; the page's own places are filled
    assert "<title>fractal one beside" in text


def test_missing_cells_say_why(written):
    _, text, read = written
    assert "real motion has one clip a text" in read.titles
    assert "– MultiModality: real motion has one clip a text (real one)" in text
    assert "it has no folder" in read.titles
    assert tables.NOT_MEASURED in read.titles


def test_same_report_makes_the_same_bytes(tmp_path):
    report = make_report()
    del report["splits"]["compositional"]
    for name in "ab":
        page.write(report, {}, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_bold_is_only_what_no_other_interval_reaches():
    measures, models = tables.MEASURES, ["fractal", "slow"]
    rows = make_report()["splits"]["test"]["rows"]
    won = {key: tables.winner(rows, key, measures[key], models) for key in ("R@1", "R@3", "fid", "diversity")}
    # .75 - .01 < .72 + .03; .882 - .02 > .7 + .02; 1.87 + .3 > 2.21 - .1; .5 from real and 2 from real
    assert won == {"R@1": None, "R@3": "fractal", "fid": None, "diversity": "fractal"}
    # a third, worse on average, may still reach the best
    rows["wide"] = {"R@3": [0.6, 0.3]}
    assert tables.winner(rows, "R@3", measures["R@3"], [*models, "wide"]) is None
    assert tables.winner(rows, "R@3", measures["R@3"], ["fractal"]) is None
    # one repeat has no interval
    rows["fractal"]["R@3"] = [0.882, math.nan]
    assert tables.winner(rows, "R@3", measures["R@3"], models) is None


def test_bold_stands_in_all_tables(written):
    *_, read = written
    assert read.bold == ["0.882", "11.50", "0.060"] * 2
    text = tables.markdown(make_report())
    assert "**0.882** ± 0.020" in text
    assert text.count("**0.") == 4
    assert "**0.980**" not in text


def test_verdicts_follow_from_the_numbers():
    report = make_report()
    said = verdicts.verdicts(report)
    precision, fid, feet = said["Seen labels, 254 clips"]
    assert "fractal one leads the trained models with 0.882 ± 0.020; next slow one, 0.700 ± 0.020" in precision
    assert "90% of what real motion has (0.980 ± 0.010)" in precision
    # .96 - .01 > .882 + .02
    assert "Against retrieval (0.960 ± 0.010) it is worse: its interval is below." in precision
    assert "fractal one has 1.87 ± 0.30; its interval overlaps with that of slow one (2.21 ± 0.10)" in fid
    assert "Against retrieval (1.00 ± 0.10) it is worse: its interval is above." in fid
    assert "real motion has 0.050 of the frames" in feet
    assert "fractal one 2.00 times as much before clean-up (0.100 of the frames), 1.20 times as much after" in feet
    assert "slow one, 1 s, 4 times as long" in said["Cost, 1 thread"][1]
    for row in report["splits"]["test"]["rows"].values():
        row.update({key: [value[0], None] for key, value in row.items() if not isinstance(value, str)})
    precision = verdicts.verdicts(report)["Seen labels, 254 clips"][0]
    assert "leads" not in precision
    assert "overlap" not in precision
    assert "a single repeat gives no interval" in precision
    assert "Against retrieval (0.960) a single repeat decides nothing" in precision


def test_a_split_without_pools_is_led_by_who_is_first_among_all_labels():
    report = make_report()
    split = report["splits"]["compositional"]
    found = {"real": 0.5, "retrieval": 0.125, "fractal": 0.3, "slow": 0.375}
    split["rows"] = {
        name: {"R@3": "too few labels", "label_top1": [value, 0.01], "skating": [0.1, 0.001]}
        for name, value in found.items()
    }
    first, feet = verdicts.verdicts(report)["Unseen combinations, 77 clips"]
    assert first == (
        "Own sentence first among all 120 labels: slow one leads the trained models with 0.375 ± 0.010; next fractal "
        "one, 0.300 ± 0.010. That is 75% of what real motion has (0.500 ± 0.010). Against retrieval (0.125 ± 0.010) "
        "it is better: its interval is above. Chance is 0.008."
    )
    assert "slow one 1.00 times as much after clean-up" in feet
    split["rows"]["retrieval"]["label_top1"] = [0.36, 0.01]
    first, _ = verdicts.verdicts(report)["Unseen combinations, 77 clips"]
    assert "it is not to be told apart: the intervals overlap" in first


def test_multimodality_has_no_direction():
    measure = tables.MEASURES["multimodality"]
    rows = {"a": {"multimodality": [1.0, 0.0]}, "b": {"multimodality": [2.0, 0.0]}}
    assert tables.ranked(rows, "multimodality", measure, ["a", "b"]) == []
    assert tables.winner(rows, "multimodality", measure, ["a", "b"]) is None
    assert " | MultiModality |" in tables.markdown(make_report())


def test_columns_stand_in_the_order_of_the_protocol():
    report = make_report()
    for row in report["splits"]["test"]["rows"].values():
        row.update({key: [1.0, 0.5] for key in reversed(tables.MEASURES)})
    heads = tables.markdown(report).split("|  | ")[1].split(" |\n")[0]
    assert re.sub(" [↑↓→]", "", heads).split(" | ") == [
        "R@1", "R@2", "R@3", "first of all labels", "FID", "FID of halves", "FID of statistics",
        "FID of statistics, halves", "MM-Dist", "Diversity", "MultiModality",
    ]  # fmt: skip


def test_feet_stand_beside_what_they_were_before_clean_up():
    text = tables.markdown(make_report())
    assert "| skating, of frames ↓ | skating before clean-up, of frames ↓ | sliding by height before clean-up," in text
    assert "| **0.060** ± 0.001 | 0.100 ± 0.002 | 0.020 ± 0.002 |" in text


def test_what_to_know_of_the_numbers_stands_under_them(tmp_path):
    report = make_report()
    report["splits"]["compositional"]["rows"] = {
        name: row | {"label_top1": [0.5, 0.1]} for name, row in report["splits"]["test"]["rows"].items()
    }
    page.write(report, {}, tmp_path / "x.html")
    html = (tmp_path / "x.html").read_text(encoding="utf-8")
    seen, unseen = (
        re.search(rf'<section id="{split}">.*?</section>', html, re.DOTALL)[0] for split in report["splits"]
    )
    for text in (seen, unseen):
        assert "over the repeats: other sentences, seeds and pools for the same clips and the same weights." in text
        assert "is what real motion has: a random half of its clips against the other half." in text
    singular = "With 77 clips the covariance of 128 numbers is singular: read FID here as a rough distance."
    labels = "the motion is nearer to its own sentence than to one of each other of the 120 labels."
    assert "singular" not in seen
    assert "First of all" not in seen
    assert {said for said in (singular, labels) if said in unseen} == {singular, labels}
    assert "Clips of the test split: other takes than those of training, most of them of labels that" in seen
    for text in (tables.markdown(report), " ".join(terminal(report).split())):
        assert {said for said in (singular, labels) if said in text} == {singular, labels}
        assert text.count("singular") == 1
        assert text.count("Other clips would differ by more.") == text.count("against the other half.") == 1


def test_notes_stand_on_page_markdown_and_terminal(tmp_path):
    report = make_report() | {"notes": ["fractal learned from <other> clips.", "so did slow."]}
    page.write(report, {}, tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    Page(text)
    assert text.index('class="card verdicts"') < text.index("<p>fractal learned from &lt;other&gt; clips.</p>")
    assert text.index("<p>so did slow.</p>") < text.index('class="card facts"')
    assert tables.markdown(report).startswith("**fractal learned from &lt;other&gt; clips.**\n\n**so did slow.**\n\n")
    shown = terminal(report)
    assert shown.index("p99") < shown.index("fractal learned from <other> clips.") < shown.index("so did slow.")
    page.write(report | {"notes": []}, {}, tmp_path / "x.html")
    assert 'role="note"' not in (tmp_path / "x.html").read_text(encoding="utf-8")


def test_costs_are_the_same_in_the_report_and_alone():
    report = make_report()
    alone = tables.cost_markdown(report["cost"])
    titled = re.sub(r"^(\| |)(retrieval|fractal|slow)\b", r"\1\2 one", alone, flags=re.MULTILINE)
    titled = titled.replace("(retrieval, fractal, slow)", "(retrieval one, fractal one, slow one)")
    assert tables.markdown(report).endswith(titled)
    assert "a &lt;fast&gt; one, 2 cores, 4 GiB, Python 3.12, torch 2.9, load average 0.50 at the start." in alone
    assert "| fractal | 0.050 | 0.250 | – |" in alone
    assert "– 60 s of motion: at most 20 s (retrieval, fractal, slow)." in alone
    assert "| fractal | 0.250 | 0.750 |" in alone
    # what threads do not change stands once
    assert alone.count("parameters, million") == alone.count("disk, MB") == 1


def test_what_is_missing_is_left_out_with_a_sentence(tmp_path):
    report = make_report() | {"cost": None}
    del report["splits"]["compositional"]
    for row in report["splits"]["test"]["rows"].values():
        row.pop("R@1"), row.pop("R@3")
        row.pop("fid_halves", None)
    report["splits"]["test"]["curves"] = {}
    page.write(report, {}, tmp_path / "x.html")
    text = (tmp_path / "x.html").read_text(encoding="utf-8")
    read = Page(text)
    assert "svg" not in read.tags
    for said in ("pool of 32", "not measured in this evaluation", "No retrieval curves", "No motions were kept"):
        assert said in text
    assert not any("R@1" in cell or "AITS" in cell for row in read.rows for cell in row)
    assert "a random half" not in text
    assert "pool of 32" in tables.markdown(report)
    assert "AITS" not in tables.markdown(report) + terminal(report)


def test_markdown_and_terminal_show_the_same_numbers():
    report = make_report()
    report["entrants"]["slow"]["title"] = "a|b [bold] <i>"
    lines = tables.markdown(report).splitlines()
    for table in re.findall(r"(?:^\|.*\n)+", "\n".join(lines) + "\n", re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert any(line.startswith("| a\\|b [bold] &lt;i&gt; | 0.720 ± 0.030 |") for line in lines)
    shown = terminal(report)
    assert "a|b [bold] <i>" in shown
    line = next(line for line in shown.splitlines() if "R@3" in line)
    assert re.findall(r"[\d.]+ ± [\d.]+", line) == ["0.980 ± 0.010", "0.960 ± 0.010", "0.882 ± 0.020", "0.700 ± 0.020"]


def test_motions_must_match_the_strips(walk, tmp_path):
    with pytest.raises(ValueError, match="0 strips need as many motions, real has 1"):
        page.write(make_report(), {"real": [walk]}, tmp_path / "x.html")
    assert list(tmp_path.iterdir()) == []


def test_plot_is_a_part_of_a_page_in_its_colours():
    lines = [Line("real", [1, 10], [1, 2], style=-1), Line(HOSTILE, [2, 5], [1, 3], [0.1, 0.2], style=0, dots=True)]
    drawing = plot(lines, "x", "y & z", "first", "x")
    read = Page(drawing)
    assert read.tags[0] == "svg"
    assert "script" not in read.tags
    assert all(name.startswith("first-") for name in read.ids)
    assert set(re.findall(r"var\((--\w+)\)", drawing)) == {"--ink", "--soft", "--line", "--c0"}
    assert not re.search("#[0-9a-f]{6}", drawing)
    # every place that is pointed at exists
    assert set(re.findall(r'url\(#([\w-]+)\)|href="#([\w-]+)"', drawing)) <= {
        pair for name in read.ids for pair in ((name, ""), ("", name))
    }


def test_page_is_clean_in_a_browser(written):
    executable = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if executable is None:
        pytest.skip("needs chromium on PATH")
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    complaints: list[str] = []
    with api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=executable, args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 400, "height": 800})
        shown.on("console", lambda message: complaints.append(message.text))
        shown.on("pageerror", lambda error: complaints.append(str(error)))
        shown.on(
            "request",
            lambda request: None if request.url.startswith(("file:", "data:")) else complaints.append(request.url),
        )
        shown.goto(written[0].as_uri())
        assert shown.evaluate("window.hacked") is None
        # wide tables scroll by themselves; the page does not
        assert shown.evaluate("document.documentElement.scrollWidth") == 400
        loaded = shown.evaluate("[...document.images].map((image) => image.naturalWidth)")
        assert np.min(loaded) > 500
        browser.close()
    assert complaints == []
