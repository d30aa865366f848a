"""Agreement of two files that judge the same negatives: what `arhn agree` does, for the command line and scripts.

Passages are matched by `query_id` and `doc_id`. Two views: `found`, whether a passage is called a false
negative, and `action`, keep, relabel or filter, where both files say as much.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from arhn.agree.confusion import RESAMPLES, SEED, Confusion, Counts, f1, precision, recall
from arhn.agree.judgements import ABSTAINED, AMBIGUOUS, NEITHER, POSITIVE, UNUSED, Judgements, Kind, Values, load
from arhn.errors import DataError
from arhn.files.apart import require_apart
from arhn.files.atomic import AtomicFile

SCHEMA = 1

_KEPT = dict.fromkeys(("keep", NEITHER, *ABSTAINED), "keep")
_ACTED = {"relabel": "relabel", "filter": "filter", "better": "relabel", "worse": "filter"}
#: The classes of each view, and the class of each word; words that are absent are left out of it.
VIEWS: Mapping[str, tuple[tuple[str, ...], Mapping[str, str]]] = {
    "found": (
        ("found", "not_found"),
        {
            **dict.fromkeys((*_ACTED, "false_negative"), "found"),
            **dict.fromkeys((*_KEPT, "true_negative"), "not_found"),
        },
    ),
    "action": (("keep", "relabel", "filter"), {**_KEPT, **_ACTED}),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """One of the two files. `groups` and `passages` count what it judges, in verdicts only what they name; `only`
    the passages that the other file doesn't judge. `abstained` counts, by reason and of the passages compared,
    those without a usable answer: they count as not acted on.
    """

    path: str
    source: str
    kind: Kind
    groups: int
    passages: int
    only: int
    abstained: Mapping[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A group in which the files differ: (`doc_id`, the word of A, the word of B) of each differing passage."""

    query_id: str
    passages: tuple[tuple[str, str, str], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Agreement:
    """How far A and B agree.

    `left_out` counts, by why, passages that both judge and that aren't compared: `ambiguous` (gold), `unused`
    (by a run), `positive` (labelled positive in one file, judged as a negative in the other). `action` is None
    where a file is gold, `differing` has the groups that differ most first.
    """

    a: Side
    b: Side
    left_out: Mapping[str, int]
    found: Confusion
    action: Confusion | None
    differing: tuple[Difference, ...]

    @property
    def has_reference(self) -> bool:
        """Whether B can be taken for the truth, so that precision and recall make sense."""
        return self.b.kind is not Kind.DECISIONS

    @property
    def named_only(self) -> bool:
        """Both are verdict files: compared is what either names, not what neither thought worth naming."""
        return self.a.kind is self.b.kind is Kind.VERDICTS


def agree(a: str, b: str, *, json: Path | None = None, overwrite: bool = False) -> Agreement:
    """Compare two files, and write what was found to `json` if given, whole or not at all.

    Args:
        a, b: decisions, gold labels, verdicts (`judgements.load`) or an output of `arhn clean`.

    Raises:
        UsageError: `json` would replace `a` or `b`.
        DataError: a file is missing, malformed or of another data set, see `judgements.load` and `compare`.
        OutputError: `json` can't be written, or is there and `overwrite` isn't set.
    """
    if json is None:
        return compare(load(a), load(b))
    require_apart({"A": a, "B": b}, {"--json": json})
    with AtomicFile(json, overwrite=overwrite) as output:
        judgements = load(a), load(b)
        sources = (f"the decisions of {j.path}" for j in judgements)
        require_apart(dict(zip(sources, (j.source for j in judgements), strict=True)), {"--json": json})
        found = compare(*judgements)
        output.write(orjson.dumps(make_content(found), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
    return found


def compare(a: Judgements, b: Judgements) -> Agreement:
    """How far two files agree on the negatives that both judge.

    Raises:
        DataError: they have no passage in common.
    """
    comparing = _Comparing(a, b)
    for query_id in a.groups.keys() | b.groups.keys():
        comparing.add(query_id)
    return comparing.finish()


def make_content(agreement: Agreement) -> dict[str, Any]:
    """The JSON that `arhn agree --json` writes, described in docs/files.md."""
    views = {"found": agreement.found, "action": agreement.action}
    return {
        "schema": SCHEMA,
        **{name: _describe_side(side) for name, side in (("a", agreement.a), ("b", agreement.b))},
        "named_only": agreement.named_only,
        "left_out": dict(agreement.left_out),
        "views": {name: view and _describe_view(view) for name, view in views.items()},
        "a_against_b": compute_scores(agreement),
        "bootstrap": {"resamples": RESAMPLES, "seed": SEED, "unit": "group"},
        "differing": [
            {"query_id": d.query_id, "passages": [{"doc_id": i, "a": x, "b": y} for i, x, y in d.passages]}
            for d in agreement.differing
        ],
    }


def compute_scores(agreement: Agreement) -> dict[str, float | None] | None:
    """Precision, recall and F1 of the false negatives that A finds, B taken for the truth; each None where it is
    0/0. None where B is decisions.
    """
    counts = agreement.found.counts
    if not agreement.has_reference:
        return None
    return {"precision": precision(counts), "recall": recall(counts), "f1": f1(counts)}


def _describe_side(side: Side) -> dict[str, Any]:
    def shown(path: str) -> str:  # a name that isn't UTF-8 can't be written as it is
        return path.encode(errors="backslashreplace").decode()

    return {
        "path": shown(side.path),
        "source": shown(side.source),
        "kind": side.kind.value,
        "groups": side.groups,
        "passages": side.passages,
        "only": side.only,
        "abstained": dict(side.abstained),
    }


def _describe_view(view: Confusion) -> dict[str, Any]:
    size = len(view.classes)
    rows = (view.counts[i * size : (i + 1) * size] for i in range(size))
    return {
        "compared": view.compared,
        "groups": sum(view.groups.values()),
        "confusion": {a: dict(zip(view.classes, row, strict=True)) for a, row in zip(view.classes, rows, strict=True)},
        "agreement": view.agreement,
        "kappa": view.kappa,
        "kappa_interval": view.interval and list(view.interval),
    }


class _Comparing:
    """Two files in the course of being compared; what is counted by file has A first."""

    def __init__(self, a: Judgements, b: Judgements) -> None:
        self._files = (a, b)
        self._default_a, self._default_b = (NEITHER if file.kind is Kind.VERDICTS else None for file in (a, b))
        names = ("found",) if Kind.GOLD in (a.kind, b.kind) else ("found", "action")
        self._cells = {name: _number_cells(name) for name in names}
        self._groups: dict[str, Counter[Counts]] = {name: Counter() for name in names}
        self._pairs: Counter[tuple[str, str]] = Counter()
        self._left_out: Counter[str] = Counter()
        self._differing: list[Difference] = []
        self._only = [0, 0]
        self._named = [0, 0]
        self._common_groups = self._matched = 0

    def add(self, query_id: str) -> None:
        a, b = (file.groups.get(query_id) for file in self._files)
        if a is None or b is None:
            self._only[0] += _count_negatives(a or {})
            self._only[1] += _count_negatives(b or {})
            return
        self._common_groups += 1
        self._named[0] += len(a)
        self._named[1] += len(b)
        self._matched += len(a.keys() & b.keys())
        judged = list(self._find_compared(a, b))
        if not judged:
            return
        pairs = Counter((x, y) for _, x, y in judged)
        self._pairs.update(pairs)
        for name, (size, cells) in self._cells.items():
            counts = [0] * size**2
            for pair, count in pairs.items():
                counts[cells[pair]] += count
            self._groups[name][tuple(counts)] += 1
        self._note_differences(query_id, judged)

    def _find_compared(self, a: Values, b: Values) -> Iterator[tuple[str, str, str]]:
        """(`doc_id`, A's word, B's word) of the passages to compare; the others are counted."""
        _, compared = self._cells["found"]
        for doc_id in a.keys() | b.keys():
            x, y = a.get(doc_id, self._default_a), b.get(doc_id, self._default_b)
            if x is None:
                self._only[1] += y != POSITIVE
            elif y is None:
                self._only[0] += x != POSITIVE
            elif (x, y) in compared:
                yield doc_id, x, y
            elif POSITIVE not in (x, y):
                self._left_out[x if x in (AMBIGUOUS, UNUSED) else y] += 1
            elif x != y and NEITHER not in (x, y):
                self._left_out[POSITIVE] += 1

    def _note_differences(self, query_id: str, judged: list[tuple[str, str, str]]) -> None:
        size, cells = self._cells.get("action") or self._cells["found"]
        differing = sorted(found for found in judged if cells[found[1:]] % (size + 1))
        if differing:
            self._differing.append(Difference(query_id=query_id, passages=tuple(differing)))

    def finish(self) -> Agreement:
        if self._is_unrelated():
            raise self._make_error()
        views = {name: Confusion(classes=VIEWS[name][0], groups=self._groups[name]) for name in self._groups}
        return Agreement(
            a=self._make_side(0),
            b=self._make_side(1),
            left_out=dict(sorted(self._left_out.items())),
            found=views["found"],
            action=views.get("action"),
            differing=tuple(sorted(self._differing, key=lambda d: (-len(d.passages), d.query_id))),
        )

    def _make_side(self, side: int) -> Side:
        file = self._files[side]
        abstained: Counter[str] = Counter()
        for pair, count in self._pairs.items():
            if pair[side] in ABSTAINED:
                abstained[pair[side]] += count
        return Side(
            path=file.path,
            source=str(file.source),
            kind=file.kind,
            groups=len(file.groups),
            passages=sum(map(_count_negatives, file.groups.values())),
            only=self._only[side],
            abstained=dict(sorted(abstained.items())),
        )

    def _is_unrelated(self) -> bool:
        """No passage is in both files. Verdicts say something of every passage of their groups, so there the sign
        is that they name some and none of them is known.
        """
        verdicts = [file.kind is Kind.VERDICTS for file in self._files]
        if not self._common_groups or all(verdicts):
            return not self._common_groups
        named = self._named[verdicts.index(True)] if any(verdicts) else 1
        return named > 0 and not self._matched

    def _make_error(self) -> DataError:
        a, b = self._files
        return DataError(
            f"has no passage in common with {a.path}: it has {_name_a_passage(b)}, the other {_name_a_passage(a)}. "
            "Passages are matched by query_id and doc_id; give two files that judge the same data set",
            path=b.path,
        )


def _number_cells(view: str) -> tuple[int, dict[tuple[str, str], int]]:
    """How many classes a view has, and the cell of its matrix that a pair of words counts in."""
    classes, of = VIEWS[view]
    place = {word: classes.index(name) for word, name in of.items()}
    return len(classes), {(x, y): i * len(classes) + j for x, i in place.items() for y, j in place.items()}


def _count_negatives(values: Values) -> int:
    return sum(value != POSITIVE for value in values.values())


def _name_a_passage(file: Judgements) -> str:
    """A passage of the file, if it names one."""
    for query_id, values in file.groups.items():
        for doc_id in values:
            return f"query_id {query_id!r} with doc_id {doc_id!r}"
    return f"query_id {next(iter(file.groups))!r} without passages"
