"""The plots of a report, as SVG that stands in the page: it takes the page's colour of text, and holds no style.

Colours differ in lightness and are legible on white and on black; shapes and words say the same as colours.
"""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from arhn.libraries import library
from arhn.report.gathering import BINS

EXTRA = "report"
#: Legible on white and on the dark page: at least 3:1 on both.
COLOURS = {"relabel": "#2a9157", "filter": "#d04e5c", "keep": "#7d8590", "positive": "#3b82c4"}
WORDS = {"relabel": "became positive", "filter": "dropped", "keep": "stays negative", "positive": "labelled positive"}
SHAPES = {"relabel": "^", "filter": "X", "keep": "o", "positive": "s"}
#: Stands for the page's colour of text.
_INK = "#010203"
_STYLE = re.compile(r' style="([^"]*)"')
_DROPPED = re.compile(
    r"<\?xml.*?\?>|<!DOCTYPE.*?>|<metadata>.*?</metadata>|<defs>\s*<style.*?</style>\s*</defs>", re.DOTALL
)


def require() -> None:
    """Raise MissingDependency unless plots can be drawn."""
    library("matplotlib", EXTRA)


def draw_flow(flow: Mapping[tuple[str, str], int], name: str) -> str:
    """Ribbons from the original labels to the actions, as wide as there are passages.

    Args:
        flow: passages by label and action.
        name: of the drawing, unlike that of any other in the page.
    """
    figure, (axes,) = _make_figure(7.2, 2.6)
    axes.set_axis_off()
    total = sum(flow.values()) or 1
    order = [(label, action) for label in ("positive", "negative") for action in ("keep", "relabel", "filter")]
    parts = [(pair, flow[pair] / total) for pair in order if flow.get(pair)]
    left = right = 1.0
    gap, before = 0.06, None
    for (label, action), share in parts:
        left -= gap if before not in (None, label) else 0.0
        kind = "positive" if label == "positive" else action
        height = max(share, 0.004)
        _add_ribbon(axes, left, right, height, COLOURS[kind])
        words = "stays positive" if kind == "positive" else WORDS[action]
        axes.text(1.02, right - height / 2, f"{flow[label, action]:,} {words}", va="center", ha="left")
        left, right, before = left - height, right - max(height, 0.09) - gap / 2, label
    axes.text(-0.02, 1.0, "positives", va="top", ha="right")
    axes.text(-0.02, left, "negatives", va="bottom", ha="right")
    axes.set_xlim(-0.22, 1.5)
    axes.set_ylim(min(left, right) - 0.03, 1.03)
    words = "; ".join(f"{n:,} {label}s: {action}" for (label, action), n in flow.items())
    return _render(figure, name, f"From labels to actions. {words}")


def _add_ribbon(axes: Any, left: float, right: float, height: float, colour: str) -> None:
    patches, path = library("matplotlib.patches", EXTRA), library("matplotlib.path", EXTRA).Path
    points = [(0, left), (0.5, left), (0.5, right), (1, right), (1, right - height), (0.5, right - height),
              (0.5, left - height), (0, left - height), (0, left)]  # fmt: skip
    codes = [path.MOVETO, *[path.CURVE4] * 3, path.LINETO, *[path.CURVE4] * 3, path.CLOSEPOLY]
    axes.add_patch(patches.PathPatch(path(points, codes), facecolor=colour, edgecolor="none", alpha=0.75))


def draw_confidences(counts: Mapping[str, Sequence[int]], thresholds: Sequence[tuple[float, float]], name: str) -> str:
    """Histograms of confidences by action, one above the other, with both thresholds of every family."""
    kinds = [kind for kind in ("keep", "filter", "relabel", "positive") if any(counts.get(kind, ()))]
    figure, every = _make_figure(7.2, 0.5 + 1.05 * max(1, len(kinds)), rows=max(1, len(kinds)))
    edges = [i / BINS for i in range(BINS)]
    for axes, kind in zip(every, kinds, strict=False):
        axes.bar(edges, counts[kind], width=1 / BINS * 0.9, align="edge", color=COLOURS[kind])
        axes.set_title(WORDS[kind], loc="left", fontsize=9, pad=3)
        for upper, lower in thresholds:
            axes.axvline(upper, color=_INK, linewidth=1.2)
            axes.axvline(lower, color=_INK, linewidth=1.2, linestyle=(0, (3, 2)))
        axes.set_xlim(0, 1)
    every[-1].set_xlabel("confidence that the passage answers (line: answers from here; dashed: doesn't below)")
    return _render(figure, name, f"Histograms of confidences: {', '.join(WORDS[kind] for kind in kinds)}")


def draw_evidence(
    points: Mapping[str, Sequence[tuple[float, float, str]]],
    labels: tuple[str, str],
    name: str,
    words: Mapping[str, str],
) -> str:
    """One piece of evidence against another; points with an example lead to it.

    Args:
        points: by action, (x, y, where the point leads or "").
        labels: of the axes.
        words: what is read out of a point that leads somewhere, by where.
    """
    figure, (axes,) = _make_figure(7.2, 4.0)
    for kind, found in points.items():
        if not found:
            continue
        x, y, links = zip(*found, strict=True)
        axes.scatter(x, y, s=24, marker=SHAPES[kind], color=COLOURS[kind], alpha=0.75, linewidths=0, label=WORDS[kind])
        linked = [point for point in found if point[2]]
        if linked:
            x, y, links = zip(*linked, strict=True)
            ringed = axes.scatter(
                x, y, s=70, marker=SHAPES[kind], facecolor=COLOURS[kind], edgecolor=_INK, linewidths=1.2
            )
            ringed.set_urls([f"#{link}" for link in links])
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.12), ncols=3, frameon=False, labelcolor=_INK)
    return _name_links(_render(figure, name, f"{labels[0]} against {labels[1]}", role="group"), words)


def _name_links(svg: str, words: Mapping[str, str]) -> str:
    def name(link: re.Match[str]) -> str:
        place = link[1]
        return f'<a href="#{place}" aria-label="{escape(words.get(place, place))}">'

    return re.sub(r'<a xlink:href="#([\w-]+)"[^>]*>', name, svg)


def draw_ranks(ranks: Mapping[str, Mapping[int, int]], name: str) -> str:
    """How often passages of each kind got each rank."""
    kinds = [kind for kind in ("positive", "relabel", "filter") if ranks.get(kind)]
    last = min(10, max((rank for kind in kinds for rank in ranks[kind]), default=1))
    figure, (axes,) = _make_figure(7.2, 2.6)
    width = 0.8 / max(1, len(kinds))
    for i, kind in enumerate(kinds):
        heights = [
            sum(n for r, n in ranks[kind].items() if r == rank or rank == last < r) for rank in range(1, last + 1)
        ]
        places = [rank - 0.4 + (i + 0.5) * width for rank in range(1, last + 1)]
        axes.bar(places, heights, width=width * 0.9, color=COLOURS[kind], label=WORDS[kind])
    axes.set_xticks(range(1, last + 1), [*map(str, range(1, last)), f"{last}+" if last == 10 else str(last)])
    axes.set_xlabel("rank by how directly a passage answers")
    axes.set_ylabel("passages")
    axes.legend(frameon=False, labelcolor=_INK)
    return _render(figure, name, f"How often passages got each rank: {', '.join(WORDS[kind] for kind in kinds)}")


def _make_figure(width: float, height: float, rows: int = 1) -> tuple[Any, Any]:
    """A figure that no window is opened for, with axes below each other; one axes alone in a list."""
    matplotlib = library("matplotlib", EXTRA)
    figures = library("matplotlib.figure", EXTRA)
    look = {"text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _INK, "xtick.color": _INK,
            "ytick.color": _INK, "font.size": 9, "svg.fonttype": "none"}  # fmt: skip
    with matplotlib.rc_context(look):
        figure = figures.Figure(figsize=(width, height), layout="constrained")
        every = figure.subplots(rows, 1, sharex=True, squeeze=False)[:, 0]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, every


def _render(figure: Any, name: str, alt: str, role: str = "img") -> str:
    """SVG for the inside of a page: attributes for styles, so that a strict policy allows it."""
    matplotlib = library("matplotlib", EXTRA)
    buffer = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = _DROPPED.sub("", buffer.getvalue())
    svg = _STYLE.sub(lambda style: _list_attributes(style[1]), svg).replace(_INK, "currentColor")
    svg = re.sub(r'\bid="([^"]*)"', rf'id="{name}-\1"', svg)
    svg = re.sub(r'(xlink:href="#|url\(#)(m|p)(\w+)', rf"\1{name}-\2\3", svg)
    head, rest = svg.strip().split(">", 1)
    head = re.sub(r' (width|height)="[^"]*"', "", head)
    return f'{head} role="{role}" aria-label="{escape(alt)}">{rest}'


def _list_attributes(style: str) -> str:
    """Declarations as attributes; of a font only its size, for the family is the page's."""
    found = []
    for declaration in filter(None, map(str.strip, style.split(";"))):
        key, _, value = (part.strip() for part in declaration.partition(":"))
        if key == "font":
            size = re.search(r"([\d.]+)px", value)
            found.append(f'font-size="{size[1]}"' if size else "")
        elif not key.startswith("-"):
            found.append(f'{key}="{value}"')
    return "".join(f" {attribute}" for attribute in found if attribute)
