"""What an evaluation found, as tables: for the page, for Markdown and for the terminal.

A report is JSON values:

    {"command": str, "repeats": int, "seeds": str, "machine": what `cost.machine` gives, "notes": [sentence],
     "evaluator": {"sha256": str, "folder": str},
     "corpora": [{"name": str, "sha256": str, "licence": str, "source": str}],
     "entrants": {name: {"title": str, "licence": str, "settings": str,
                         "sha256": str | None, "parameters": int | None, "bytes": int | None}},
     "splits": {"test" | "val" | "compositional":
                {"n": int, "labels": int, "sha256": str, "rows": {name: {measure: [mean, half] | str}},
                 "curves": {name: [share found among the first 1, 2, ...]}}},
     "cost": what `cost.measure` gives, or None,
     "strips": [{"text": str, "seconds": float}]}

`half` is half of the 95 % interval, nan or None with a single repeat. A string in place of a measure says why there is
none. `labels` is among how many labels `label_top1` looks. "real" and "retrieval" are entrants that were not trained,
and have no sha256, parameters and bytes; all others are called trained models.
"""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from kinema.evaluation import physics
from kinema.evaluation.metrics import POOL
from kinema.evaluation.physics import Measure

if TYPE_CHECKING:
    from rich.console import Group

REAL, RETRIEVAL = "real", "retrieval"
NOT_MEASURED = "not measured"
WIDTH = 128  # numbers that the evaluator makes of a motion

MEASURES = {
    "R@1": Measure("R@1", "", "{:.3f}", "higher"),
    "R@2": Measure("R@2", "", "{:.3f}", "higher"),
    "R@3": Measure("R@3", "", "{:.3f}", "higher"),
    "label_top1": Measure("first of all labels", "", "{:.3f}", "higher"),
    "fid": Measure("FID", "", "{:.2f}", "lower"),
    "fid_halves": Measure("FID of halves", "", "{:.2f}", "lower"),
    "statistics_fid": Measure("FID of statistics", "", "{:.2f}", "lower"),
    "statistics_fid_halves": Measure("FID of statistics, halves", "", "{:.2f}", "lower"),
    "mm_dist": Measure("MM-Dist", "", "{:.2f}", "lower"),
    "diversity": Measure("Diversity", "", "{:.2f}", "real"),
    "multimodality": Measure("MultiModality", "", "{:.2f}", ""),
}
# Speed and jerk are shown against real ones only. Beside each measure of feet is the same before clean-up.
PHYSICS = {
    name: shown
    for key, measure in physics.MEASURES.items()
    for name, shown in ((key, measure), (f"{key}_raw", replace(measure, title=f"{measure.title} before clean-up")))
    if key not in ("speed", "jerk") and (name == key or key in ("skating", "sliding", "weighted_skating"))
}
COSTS = {
    "calls": Measure("calls", "", "{:.0f}", ""),
    "aits": Measure("AITS", "s", "{:.3f}", "lower"),
    "p50": Measure("p50", "s", "{:.3f}", "lower"),
    "p95": Measure("p95", "s", "{:.3f}", "lower"),
    "p99": Measure("p99", "s", "{:.3f}", "lower"),
    "ratio": Measure("p50", "of the first's", "{:.2f}", "lower"),
    "text": Measure("text encoder", "s", "{:.3f}", "lower"),
    "without_text": Measure("without text encoder", "s", "{:.3f}", "lower"),
    "first_frame": Measure("first frame", "s", "{:.3f}", "lower"),
    "real_time_factor": Measure("real-time factor", "s / s of motion", "{:.4f}", "lower"),
    "cpu": Measure("CPU", "s", "{:.3f}", "lower"),
    "peak_memory": Measure("peak memory", "MB", "{:.0f}", "lower"),
    "above_torch": Measure("above torch", "MB", "{:.0f}", "lower"),
    "parameters": Measure("parameters", "million", "{:.2f}", "lower"),
    "disk": Measure("disk", "MB", "{:.1f}", "lower"),
}
_SPLITS = {
    "test": (
        "Seen labels",
        "Clips of the test split: other takes than those of training, most of them of labels that training had.",
    ),
    "val": ("Validation", "Clips of the validation split, which settings were chosen on."),
    "compositional": ("Unseen combinations", "Combinations of content and style that training never had."),
}
ARROWS = {"higher": "↑", "lower": "↓", "real": "→", "": ""}
KEY = "↑ higher is better, ↓ lower is better, → nearer to real motion is better."
BOLD = "Bold: the best trained model, where its 95 % interval overlaps with no other's."
INTERVAL = (
    "± is half of the 95 % interval (Student's t) over the repeats: other sentences, seeds and pools for the same "
    "clips and the same weights. Other clips would differ by more."
)
FLOOR = (
    "The floor of FID of halves, and of that of statistics, is what real motion has: a random half of its clips "
    "against the other half."
)


@dataclass(frozen=True)
class Cell:
    """One place in a table: a mean and its half width, or why there is none."""

    text: str = ""
    half: str = ""
    why: str = ""
    best: bool = False


@dataclass(frozen=True)
class Row:
    name: str
    title: str
    cells: list[Cell]


# --- what is best ---------------------------------------------------------------------------------------------


def trained(report: Mapping[str, Any]) -> list[str]:
    """Names of the entrants that are models."""
    return [name for name in report["entrants"] if name not in (REAL, RETRIEVAL)]


def mean_and_half(value: Any) -> tuple[float, float] | None:
    """A mean and the half width of its interval (nan if there is none); None for what is no number."""
    mean, half = value if isinstance(value, Sequence) and not isinstance(value, str) else (value, None)
    if not isinstance(mean, int | float) or not math.isfinite(mean):
        return None
    return float(mean), float(half) if isinstance(half, int | float) else math.nan


def ranked(
    rows: Mapping[str, Mapping[str, Any]], key: str, measure: Measure, names: Sequence[str]
) -> list[tuple[str, float, float]]:
    """(name, how far from best, half width) of the names that have it, best first; none if it has no direction."""
    real = mean_and_half(rows.get(REAL, {}).get(key))
    found = []
    for name in names:
        pair = mean_and_half(rows.get(name, {}).get(key))
        if pair is None or not measure.better or (measure.better == "real" and real is None):
            continue
        mean, half = pair
        lost = {"higher": -mean, "lower": mean, "real": abs(mean - real[0]) if real else 0.0}[measure.better]
        found.append((name, lost, half))
    return sorted(found, key=lambda entry: entry[1])


def winner(rows: Mapping[str, Mapping[str, Any]], key: str, measure: Measure, names: Sequence[str]) -> str | None:
    """The best of two or more names, if its 95 % interval overlaps with none of the others; else None."""
    order = ranked(rows, key, measure, names)
    if len(order) < 2:
        return None
    (best, lost, half), *others = order
    # false where a half width is nan: a single repeat tells nothing apart
    return best if all(lost + half < other - width for _, other, width in others) else None


# --- tables -----------------------------------------------------------------------------------------------------------


def titles_of(report: Mapping[str, Any]) -> dict[str, str]:
    """What entrants are called beside their numbers, by name."""
    return {name: entrant["title"] for name, entrant in report["entrants"].items()}


def repeats(report: Mapping[str, Any]) -> str:
    """The repeats of a report, in words."""
    return f"{report['repeats']} repeat{'s' * (report['repeats'] != 1)}"


def split_title(split: str) -> str:
    """What a split is called."""
    return _SPLITS.get(split, (split, ""))[0]


def split_about(split: str) -> str:
    """What a split tests; empty for one without a sentence of its own."""
    return _SPLITS.get(split, ("", ""))[1]


def value(measure: Measure, found: Any) -> str:
    """A measure with its half width, as text."""
    pair = mean_and_half(found)
    if pair is None:
        return "–"
    mean, half = _texts(measure, pair)
    return f"{mean} ± {half}" if half else mean


def _texts(measure: Measure, pair: tuple[float, float]) -> tuple[str, str]:
    mean, half = pair
    return measure.form.format(mean), "" if math.isnan(half) else measure.form.format(half)


def _present(rows: Mapping[str, Mapping[str, Any]], measures: Mapping[str, Measure]) -> dict[str, Measure]:
    """The measures that any row has."""
    return {
        key: measure
        for key, measure in measures.items()
        if any(mean_and_half(row.get(key)) is not None for row in rows.values())
    }


def _rows(
    rows: Mapping[str, Mapping[str, Any]],
    measures: Mapping[str, Measure],
    titles: Mapping[str, str],
    models: Sequence[str],
) -> list[Row]:
    """The rows that have a title, in the order of the titles; what is best is so among the models."""
    best = {key: winner(rows, key, measure, models) for key, measure in measures.items()}
    found = []
    for name in [name for name in titles if name in rows]:
        cells = []
        for key, measure in measures.items():
            value = rows[name].get(key)
            pair = mean_and_half(value)
            if pair is None:
                cells.append(Cell("–", why=value if isinstance(value, str) else NOT_MEASURED))
                continue
            cells.append(Cell(*_texts(measure, pair), best=best[key] == name))
        found.append(Row(name, titles[name], cells))
    return found


def of_split(report: Mapping[str, Any], split: str) -> list[tuple[str, dict[str, Measure], list[Row]]]:
    """(title, measures, rows) of the tables of a split."""
    rows, titles, models = report["splits"][split]["rows"], titles_of(report), trained(report)
    measured = [
        (title, _present(rows, measures))
        for title, measures in (("Against text and real motion", MEASURES), ("The motion itself", PHYSICS))
    ]
    return [(title, present, _rows(rows, present, titles, models)) for title, present in measured if present]


def legend(report: Mapping[str, Any]) -> str:
    """How to read the tables of all splits: sentences for under them."""
    reals = [found["rows"].get(REAL, {}) for found in report["splits"].values()]
    halved = any(mean_and_half(row.get("fid_halves")) for row in reals)
    return " ".join([INTERVAL, *[FLOOR] * halved, KEY, BOLD])


def caveats(report: Mapping[str, Any], split: str) -> str:
    """What to know of the numbers of one split: sentences for under its tables, or none."""
    found = report["splits"][split]
    present = _present(found["rows"], MEASURES)
    said = []
    if "label_top1" in present:
        said.append(
            "First of all labels: the motion is nearer to its own sentence than to one of each other of the "
            f"{found['labels']} labels."
        )
    if "fid" in present and found["n"] <= WIDTH:
        said.append(
            f"With {found['n']} clips the covariance of {WIDTH} numbers is singular: read FID here as a rough distance."
        )
    return " ".join(said)


def missing(report: Mapping[str, Any], split: str) -> str:
    """Why a split has no R-precision; empty if it has."""
    rows = report["splits"][split]["rows"].values()
    if any(mean_and_half(row.get("R@1")) is not None for row in rows):
        return ""
    return f"No R-precision: this split has too few different labels or texts to fill a pool of {POOL}."


def of_cost(cost: Mapping[str, Any] | None) -> list[tuple[str, dict[str, dict[str, Any]]]]:
    """(name, rows by the keys of COSTS) of each setting of threads that cost was measured in."""
    settings = []
    for setting in cost["settings"] if cost else ():
        rows = {}
        for row in setting["entrants"]:
            shown = {**row, **row["wall"], "first_frame": row["first_frame"]["p50"], "ratio": row["ratio"]["wall"]}
            shown |= {key: row[key] / 1e6 for key in ("peak_memory", "above_torch", "parameters")}
            shown["disk"] = "it has no folder" if row["disk"] is None else row["disk"] / 1e6
            rows[row["name"]] = shown
        settings.append((str(setting["name"]), rows))
    return settings


def cost_tables(
    cost: Mapping[str, Any] | None, titles: Mapping[str, str]
) -> list[tuple[str, dict[str, Measure], list[Row]]]:
    """(setting, measures, rows) of the cost tables; what no setting changes stands in the first alone."""
    tables = []
    for number, (name, rows) in enumerate(of_cost(cost)):
        fixed = ("parameters", "disk") if number else ()
        present = {key: measure for key, measure in _present(rows, COSTS).items() if key not in fixed}
        tables.append((name, present, _rows(rows, present, titles, list(rows))))
    return tables


# --- Markdown and terminal --------------------------------------------------------------------------------------------


def markdown(report: Mapping[str, Any]) -> str:
    """The tables of a report, each with its split, number of clips and repeats, for a page of the documentation."""
    blocks = [f"**{_plain(note)}**" for note in report["notes"]]
    for split, found in report["splits"].items():
        about = f"{found['n']} clips, {repeats(report)}. {split_about(split)}"
        blocks.append(f"**{_plain(split_title(split))}** (`{split}`): {_plain(about)}")
        blocks += [missing(report, split)] if missing(report, split) else []
        blocks += [_written(measures, rows) for _, measures, rows in of_split(report, split)]
        blocks += [caveats(report, split)] if caveats(report, split) else []
    blocks.append(legend(report))
    if report["cost"]:
        blocks.append(cost_markdown(report["cost"], titles_of(report)).rstrip("\n"))
    return "\n\n".join(blocks) + "\n"


def machine(about: Mapping[str, Any]) -> str:
    """What `cost.machine` gives, in words."""
    load = f", load average {about['load_average'][0]:.2f} at the start" if about["load_average"] else ""
    memory = f", {about['memory'] / 2**30:.0f} GiB" if about["memory"] else ""
    return (
        f"{about['processor']}, {about['cores']} cores{memory}, Python {about['python']}, torch {about['torch']}{load}"
    )


def cost_markdown(cost: Mapping[str, Any], titles: Mapping[str, str] | None = None) -> str:
    """The tables of what `cost.measure` gives; an empty cell is a dash, and why stands below its table.

    Args:
        cost: of one setting at least.
        titles: of its entrants, by name; their names if None.
    """
    seconds = f"{cost['protocol']['seconds']:g} s of motion"
    about = _plain(machine(cost["machine"]))
    blocks = [f"{about}. {seconds} a call; medians, but for AITS, which is the mean."]
    titles = titles or {row["name"]: row["name"] for row in cost["settings"][0]["entrants"]}
    for name, measures, rows in cost_tables(cost, titles):
        blocks += [f"**Cost**, {_plain(name)}, {seconds}.", _written(measures, rows)]
        entrants = dict(of_cost(cost))[name]
        for kind, what, unit in (("lengths", "seconds", "s of motion"), ("batches", "batch", "at once")):
            cells = {titles[name]: entrant[kind] for name, entrant in entrants.items() if entrant[kind]}
            if not cells:
                continue
            sizes = [f"{cell[what]:g} {unit}" for cell in next(iter(cells.values()))]
            blocks.append(
                _grid(
                    ["seconds for", *sizes],
                    [
                        [_plain(title), *("–" if cell["wall"] is None else f"{cell['wall']:.3f}" for cell in row)]
                        for title, row in cells.items()
                    ],
                )
            )
            empty: dict[str, list[str]] = {}
            for title, row in cells.items():
                for size, cell in zip(sizes, row, strict=True):
                    if cell["reason"]:
                        empty.setdefault(_plain(f"{size}: {cell['reason']}"), []).append(_plain(title))
            blocks += (
                ["; ".join(f"– {why} ({', '.join(names)})" for why, names in empty.items()) + "."] if empty else []
            )
    return "\n\n".join(blocks) + "\n"


def _written(measures: Mapping[str, Measure], rows: Sequence[Row]) -> str:
    def shown(cell: Cell) -> str:
        mean = f"**{cell.text}**" if cell.best else cell.text
        return f"{mean} ± {cell.half}" if cell.half else mean

    return _grid(["", *map(_head, measures.values())], [[_plain(row.title), *map(shown, row.cells)] for row in rows])


def _head(measure: Measure) -> str:
    return f"{measure.title}{f', {measure.unit}' if measure.unit else ''} {ARROWS[measure.better]}".strip()


def _grid(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    rule = ["---", *["---:"] * (len(heads) - 1)]
    return "\n".join(f"| {' | '.join(row)} |" for row in (heads, rule, *rows))


def _plain(text: str) -> str:
    return html.escape(" ".join(text.split()), quote=False).replace("|", "\\|")


def console(report: Mapping[str, Any]) -> Group:
    """The tables of a report for a terminal: a line for each measure, a column for each entrant."""
    from rich.console import Group
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    titles = titles_of(report)
    table = Table(title=f"{repeats(report)}, mean ± half of the 95 % interval")
    table.add_column("")
    for title in titles.values():
        table.add_column(escape(title), justify="right")

    def add(measures: Mapping[str, Measure], rows: Sequence[Row]) -> None:
        columns = {row.name: row.cells for row in rows}
        for number, measure in enumerate(measures.values()):
            cells = [columns[name][number] if name in columns else Cell() for name in titles]
            texts = [cell.text + (f" ± {cell.half}" if cell.half else "") for cell in cells]
            bold = [f"[bold]{text}[/bold]" if cell.best else text for text, cell in zip(texts, cells, strict=True)]
            table.add_row(escape(_head(measure)), *bold)

    below = [legend(report)]
    for split, found in report["splits"].items():
        table.add_section()
        table.add_row(f"[bold]{escape(split_title(split))}, {found['n']} clips[/bold]")
        for _, measures, rows in of_split(report, split):
            add(measures, rows)
        below += [f"{split_title(split)}: {caveats(report, split)}"] if caveats(report, split) else []
    for name, measures, rows in cost_tables(report["cost"], titles):
        table.add_section()
        table.add_row(f"[bold]Cost, {escape(name)}[/bold]")
        add(measures, rows)
    return Group(table, *(Text(note, "bold") for note in report["notes"]), *map(Text, below))
