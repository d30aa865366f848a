"""The plot of a comparison: dots with intervals, one row for each data set.

It can be read without colours.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from arhn.compare.comparison import ALPHA, Comparison
from arhn.errors import UsageError
from arhn.libraries import library
from arhn.libraries import require as require_library

FORMATS = (".png", ".svg", ".pdf")

#: The colours of Okabe and Ito for the colour-blind, the darkest first; each contender also has its own shape.
_COLOURS = ("#000000", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_SHAPES = ("o", "s", "D", "^", "v", "P", "X")
_GREY = "#666666"
#: The background of every other row.
_BAND = "#f3f3f3"
_EXTRA = "evaluate"
#: In inches: the height of one dot's line, the gap between two rows, and the space around all.
_LINE, _GAP, _AROUND = 0.125, 0.1, 1.1


def require(path: Path) -> None:
    """Check that a plot can be drawn.

    Raises:
        UsageError: the suffix isn't one of `FORMATS`.
        MissingDependency: matplotlib isn't installed.
    """
    if path.suffix.casefold() not in FORMATS:
        raise UsageError(f"--plot {path}: expected a name that ends in {', '.join(FORMATS)}.")
    require_library("matplotlib", "matplotlib", _EXTRA)


def draw(comparison: Comparison, suffix: str) -> bytes:
    """Draw a comparison: means on the left and, with several contenders, differences from the baseline on the right.

    Bars are 95% intervals over queries, small strokes are single seeds. A significant difference has a filled dot, any
    other a hollow one.

    Args:
        suffix: one of `FORMATS`.

    Returns:
        The content of the file.
    """
    figures = library("matplotlib.figure", _EXTRA)
    count = len(comparison.contenders)
    panels = 1 if count == 1 else 2
    height = len(comparison.rows) * (count * _LINE + _GAP) + _AROUND
    figure = figures.Figure(figsize=(3.7 * panels + 1.2, height), layout="constrained")
    axes = figure.subplots(1, panels, sharey=True, squeeze=False)[0]
    _draw_means(axes[0], comparison)
    if panels > 1:
        _draw_differences(axes[1], comparison)
    _label_rows(axes[0], comparison)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside upper center", ncols=min(count, 6), frameon=False)
    buffer = io.BytesIO()
    with library("matplotlib", _EXTRA).rc_context({"svg.hashsalt": "arhn"}):
        figure.savefig(buffer, format=suffix.casefold().lstrip("."), dpi=200, metadata=_UNDATED.get(suffix.casefold()))
    return buffer.getvalue()


#: No dates, so that equal comparisons give equal files.
_UNDATED = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}


def _draw_means(axes: Any, comparison: Comparison) -> None:
    for i, name in enumerate(comparison.contenders):
        cells = [row.cells[i] for row in comparison.rows]
        places = _places(comparison, i)
        low, high = zip(*(cell.interval for cell in cells), strict=True)
        _draw_dots(axes, [cell.mean for cell in cells], low, high, places, i, label=name)
        for cell, place in zip(cells, places, strict=True):
            if len(cell.seeds) > 1:
                axes.plot(
                    cell.seeds,
                    [place] * len(cell.seeds),
                    "|",
                    color=_colour(i),
                    markersize=5.5,
                    markeredgewidth=0.8,
                    zorder=4,
                )
    strokes = "; strokes: seeds" if any(len(cell.seeds) > 1 for row in comparison.rows for cell in row.cells) else ""
    axes.set_xlabel(f"{comparison.measure} (bars: 95% over queries{strokes})")


def _draw_differences(axes: Any, comparison: Comparison) -> None:
    axes.axvline(0, color=_GREY, linewidth=0.8)
    for i, name in enumerate(comparison.contenders):
        if name == comparison.baseline:
            continue
        for row, place in zip(comparison.rows, _places(comparison, i), strict=True):
            cell = row.cells[i]
            if cell.difference is not None and cell.difference_interval is not None:
                low, high = cell.difference_interval
                _draw_dots(axes, [cell.difference], [low], [high], [place], i, filled=cell.significant)
    axes.set_xlabel(f"difference from {comparison.baseline} (filled: p < {ALPHA:g}, corrected)")


def _draw_dots(
    axes: Any,
    values: Sequence[float],
    low: Iterable[float],
    high: Iterable[float],
    places: Sequence[float],
    contender: int,
    *,
    label: str | None = None,
    filled: bool = True,
) -> None:
    colour = _colour(contender)
    axes.hlines(places, list(low), list(high), color=colour, linewidth=1.2, zorder=2)
    axes.plot(
        values,
        places,
        _SHAPES[contender % len(_SHAPES)],
        color=colour,
        markerfacecolor=colour if filled else "white",
        markersize=4.5,
        linestyle="none",
        label=label,
        zorder=3,
    )


def _label_rows(axes: Any, comparison: Comparison) -> None:
    centres = [-row * _pitch(comparison) for row in range(len(comparison.rows))]
    axes.set_yticks(centres, [row.name for row in comparison.rows])
    axes.set_ylim(centres[-1] - _pitch(comparison) / 2, _pitch(comparison) / 2)
    for label, row in zip(axes.get_yticklabels(), comparison.rows, strict=True):
        label.set_fontweight("normal" if row.kind == "dataset" else "bold")
    for each in axes.figure.axes:
        each.grid(axis="x", color="#dddddd", linewidth=0.6)
        each.set_axisbelow(True)
        each.spines[["top", "right", "left"]].set_visible(False)
        each.tick_params(axis="y", length=0)
        for centre in centres[::2]:
            each.axhspan(
                centre - _pitch(comparison) / 2, centre + _pitch(comparison) / 2, color=_BAND, linewidth=0, zorder=0
            )


def _pitch(comparison: Comparison) -> float:
    """The distance from one row to the next, in lines of dots."""
    return len(comparison.contenders) + _GAP / _LINE


def _places(comparison: Comparison, contender: int) -> list[float]:
    """The height of a contender's dot in each row; the first row is on top."""
    offset = (len(comparison.contenders) - 1) / 2 - contender
    return [offset - row * _pitch(comparison) for row in range(len(comparison.rows))]


def _colour(contender: int) -> str:
    return _COLOURS[contender % len(_COLOURS)]
