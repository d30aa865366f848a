"""The noise curve of bench/retriever.py as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from arhn.compare.comparison import ALPHA

#: Okabe and Ito's colours and a shape for each, as in `arhn.compare.plot`.
_STYLES = (("#000000", "o", "-"), ("#0072B2", "s", "--"), ("#D55E00", "D", "-."))
#: Shares beside each other, so that bars don't cover each other.
_APART = 0.004

Row = Mapping[str, Any]


def draw(path: Path, rows: Sequence[Row], datasets: Sequence[str], arms: Sequence[str], baseline: str) -> None:
    """A line of panels a data set: nDCG@10 with its spread over seeds, and differences with intervals over queries."""
    figure = Figure(figsize=(9.2, 3.1 * len(datasets) + 0.5), layout="constrained")
    panels = figure.subplots(len(datasets), 2, sharex=True, squeeze=False)
    for (means, differences), dataset in zip(panels, datasets, strict=True):
        here = [row for row in rows if row["data"] == dataset]
        for i, arm in enumerate(arms):
            # Without noise all arms are the same.
            points = [row for row in here if row["name"] == arm or not row["share"]]
            _means(means, points, i, arm)
            if arm != baseline:
                _differences(differences, points, i)
        means.set_title(dataset, loc="left", fontsize=10)
        means.set_ylabel("nDCG@10 (bars: SD over seeds)")
        differences.axhline(0, color="#666666", linewidth=0.8)
        differences.set_ylabel(f"difference from {baseline}")
        differences.set_title(f"bars: 95% over queries; filled: p < {ALPHA:g}, corrected", loc="left", fontsize=9)
    for axes in panels.flat:
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
    for axes in panels[-1]:
        axes.set_xlabel("share of the negatives that are false")
    figure.legend(*panels[0][0].get_legend_handles_labels(), loc="outside upper center", ncols=len(arms), frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=160)


def _means(axes: Any, points: Sequence[Row], number: int, label: str) -> None:
    colour, shape, line = _STYLES[number % len(_STYLES)]
    axes.errorbar(
        [p["share"] + _APART * (number - 1) for p in points],
        [p["nDCG@10"] for p in points],
        yerr=[p["SD"] or 0.0 for p in points],
        color=colour,
        marker=shape,
        markersize=4.5,
        linestyle=line,
        linewidth=1.2,
        label=label,
    )


def _differences(axes: Any, points: Sequence[Row], number: int) -> None:
    colour, shape, line = _STYLES[number % len(_STYLES)]
    shown = [p for p in points if p["difference"] is not None]
    places = [p["share"] + _APART * (number - 1.5) for p in shown]
    axes.plot(places, [p["difference"] for p in shown], color=colour, linestyle=line, linewidth=0.8)
    axes.vlines(places, [p["low"] for p in shown], [p["high"] for p in shown], color=colour, linewidth=1.2)
    for place, p in zip(places, shown, strict=True):
        fill = colour if p["p, Holm"] < ALPHA else "white"
        axes.plot(place, p["difference"], shape, color=colour, markerfacecolor=fill, markersize=5)
