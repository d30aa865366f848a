"""The losses: those of sentence-transformers where nothing is forbidden, and nothing at all from what is."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn.train.filtered_passages import doc_key, text_key
from arhn.train.groups import StoredPassage, gather
from arhn.train.plan import Example, Examples
from arhn.train.recipe import Recipe, load
from tests.unit.conftest import at_most
from tests.unit.train import tiny

torch = pytest.importorskip("torch")
library = pytest.importorskip("sentence_transformers")

from arhn.train.collators import ListCollator, PairCollator, RetrieverCollator, make_marks  # noqa: E402
from arhn.train.losses import CachedContrastiveLoss, ContrastiveLoss, ListwiseLoss, Marks, contrast, mask_forbidden  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
TEMPERATURE = 0.1


def member(name: str, text: str | None = None) -> StoredPassage:
    text = text or f"text of {name}"
    return StoredPassage(text, doc_key(name), text_key(text))


def example(query: str, positives: Sequence[str], negatives: Sequence[str], filtered: Sequence[str] = ()) -> Example:
    own = [member(name) for name in positives]
    keys = [key for p in own for key in (p.doc, p.key)] + [doc_key(name) for name in filtered]
    return Example(query, [*own, *(member(name) for name in negatives)], len(own), keys)


def distinct(examples: Sequence[Example]) -> list[StoredPassage]:
    return list(dict.fromkeys(p for e in examples for p in e.passages))


def embeddings(count: int, seed: int) -> Any:
    return torch.randn(count, 16, generator=torch.Generator().manual_seed(seed), requires_grad=True)


def by_hand(queries: Any, passages: Any, positives: Sequence[set[int]], blocked: Sequence[set[int]]) -> Any:
    """The formula, term by term."""
    cosines = library.util.cos_sim(queries, passages) / TEMPERATURE
    losses = []
    for row, own in enumerate(positives):
        negatives = [j for j in range(len(passages)) if j not in own | blocked[row]]
        terms = [-cosines[row, p] + torch.logsumexp(cosines[row, [p, *negatives]], 0) for p in own]
        losses.append(torch.stack(terms).mean())
    return torch.stack(losses).mean()


def columns(passages: Sequence[StoredPassage], names: Sequence[str]) -> set[int]:
    return {i for i, passage in enumerate(passages) if passage.doc in {doc_key(name) for name in names}}


CASES: dict[str, list[Example]] = {
    "nothing forbidden": [example(f"q{i}", [f"p{i}"], [f"n{i}a", f"n{i}b"]) for i in range(4)],
    "fewer negatives": [example("q0", ["p0"], []), example("q1", ["p1"], ["n1"]), example("q2", ["p2"], ["a", "b"])],
    "filtered": [example("q0", ["p0"], ["n0"], ["p1", "n2"]), example("q1", ["p1"], []), example("q2", ["p2"], ["n2"])],
    "another's negative": [example("q0", ["p0"], ["p1", "n"]), example("q1", ["p1"], ["p0", "n"])],
    "several": [
        example("q0", ["p0", "p0b"], ["n0"]),
        example("q1", ["p1"], ["p0b"]),
        example("q2", ["x", "y", "z"], []),
    ],
    "only its own": [example("q0", ["p0"], []), example("q1", ["p1"], [], ["p0"])],
}


@pytest.mark.parametrize("case", CASES)
def test_the_loss_is_the_formula(case: str) -> None:
    examples = CASES[case]
    passages = distinct(examples)
    queries, vectors = embeddings(len(examples), 1), embeddings(len(passages), 2)
    own = [{passages.index(p) for p in e.passages[: e.positives]} for e in examples]
    keys = [set(e.forbidden) for e in examples]
    blocked = [{i for i, p in enumerate(passages) if {p.doc, p.key} & forbidden_keys} for forbidden_keys in keys]
    found = contrast(queries, vectors, make_marks(examples, passages), TEMPERATURE)
    expected = by_hand(queries, vectors, own, blocked)
    assert found.item() == pytest.approx(expected.item(), abs=1e-5)
    for mine, right in zip(
        torch.autograd.grad(found, (queries, vectors), allow_unused=True),
        torch.autograd.grad(expected, (queries, vectors), allow_unused=True),
        strict=True,
    ):
        assert torch.allclose(mine, right if right is not None else torch.zeros_like(mine), atol=1e-5)


@pytest.mark.parametrize(
    ("row", "name"),
    [(0, "p1"), (0, "n2")],
    ids=["another query's positive that was filtered from this one", "another's negative that was"],
)
def test_what_is_forbidden_has_no_influence(row: int, name: str) -> None:
    examples = CASES["filtered"]
    passages = distinct(examples)
    queries, vectors = embeddings(3, 1), embeddings(len(passages), 2)
    # Only the first query's loss: the others may use these passages.
    alone = [examples[row]]
    marks = make_marks(alone, passages)
    gradient = torch.autograd.grad(contrast(queries[row : row + 1], vectors, marks, TEMPERATURE), vectors)[0]
    used = columns(passages, [name])
    assert gradient[list(used)].abs().max() == 0
    assert all(
        gradient[i].abs().max() > 0 for i in range(len(passages)) if i not in used | columns(passages, ["p1", "n2"])
    )


def test_a_passage_with_the_text_of_a_positive_is_forbidden_whatever_its_id() -> None:
    copy = StoredPassage("text of p0", doc_key("other id"), text_key("text  of p0"))
    examples = [example("q0", ["p0"], ["n0"]), Example("q1", [member("p1"), copy], 1, [])]
    passages = distinct(examples)
    blocked = mask_forbidden(torch.tensor([(p.doc, p.key) for p in passages]), make_marks(examples, passages), 2)
    assert set(blocked[0].nonzero().flatten().tolist()) == {passages.index(member("p0")), passages.index(copy)}
    assert not blocked[1].any()


@at_most(60)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=9),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5)), max_size=12),
)
def test_forbidden_is_what_a_comparison_of_all_with_all_says(
    keys: list[tuple[int, int]], pairs: list[tuple[int, int]]
) -> None:
    marks = Marks(
        columns=torch.tensor(keys),
        rows=torch.arange(3),
        targets=torch.zeros(3, dtype=torch.long),
        forbidden_rows=torch.tensor([row for row, _ in pairs], dtype=torch.long),
        forbidden_keys=torch.tensor([key for _, key in pairs], dtype=torch.long),
    )
    expected = [[any((row, key) in pairs for key in own) for own in keys] for row in range(3)]
    assert mask_forbidden(marks["columns"], marks, 3).tolist() == expected


@pytest.fixture(scope="module")
def model(retriever: Path) -> Any:
    return library.SentenceTransformer(str(retriever), device="cpu").eval()


def recipe(**changes: Any) -> Recipe:
    return load("tiny").model_copy(update=changes)


def batch_of(model: Any, changes: dict[str, Any], parts: int = 3, **made: Any) -> tuple[list[dict[str, Any]], Marks]:
    """Features and marks, as the trainer makes them."""
    examples = Examples(gather(tiny.groups(8, **made)), recipe(**changes))
    batch = RetrieverCollator(preprocess=model.preprocess, parts=parts)([examples[i, 0] for i in range(8)])
    marks = batch.pop("marks")
    names = list(dict.fromkeys(name.split("_", 1)[0] for name in batch))
    return [{k.split("_", 1)[1]: v for k, v in batch.items() if k.startswith(f"{name}_")} for name in names], marks


def gradients(model: Any, loss: Callable[[], Any]) -> tuple[float, list[Any]]:
    model.zero_grad()
    value = loss()
    value.backward()
    return value.item(), [p.grad.clone() for p in model.parameters() if p.grad is not None]


def assert_equal(one: tuple[float, list[Any]], other: tuple[float, list[Any]]) -> None:
    assert one[0] == pytest.approx(other[0], abs=1e-5)
    assert len(one[1]) == len(other[1]) > 10
    for mine, right in zip(one[1], other[1], strict=True):
        assert torch.allclose(mine, right, atol=1e-5, rtol=1e-3)


def test_without_anything_forbidden_it_is_that_of_sentence_transformers(model: Any) -> None:
    from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss

    features, marks = batch_of(model, {"negatives": 2})
    examples = Examples(gather(tiny.groups(8)), recipe(negatives=2))
    rows = [examples[i, 0] for i in range(8)]
    tuples = [[e.query for e in rows], *([e.passages[i].text for e in rows] for i in range(3))]
    theirs = MultipleNegativesRankingLoss(model, scale=1 / TEMPERATURE)
    assert_equal(
        gradients(model, lambda: ContrastiveLoss(model, TEMPERATURE)(features, marks)),
        gradients(model, lambda: theirs([model.preprocess(column) for column in tuples], torch.empty(0))),
    )


@pytest.mark.parametrize("mini_batch", [1, 3, 100])
@pytest.mark.parametrize("positives", ["rotate", "all"])
def test_cached_gradients_are_those_without_a_cache(model: Any, mini_batch: int, positives: str) -> None:
    features, marks = batch_of(model, {"positives": positives}, positives=3)
    assert_equal(
        gradients(model, lambda: CachedContrastiveLoss(model, TEMPERATURE, mini_batch)(features, marks)),
        gradients(model, lambda: ContrastiveLoss(model, TEMPERATURE)(features, marks)),
    )


def test_cached_gradients_are_scaled_by_what_comes_after(model: Any) -> None:
    features, marks = batch_of(model, {})
    cached = CachedContrastiveLoss(model, TEMPERATURE, 4)
    value, found = gradients(model, lambda: cached(features, marks) / 4)
    expected, right = gradients(model, lambda: ContrastiveLoss(model, TEMPERATURE)(features, marks) / 4)
    assert_equal((value, found), (expected, right))


def test_parts_change_nothing(model: Any) -> None:
    one, other = batch_of(model, {}, parts=1), batch_of(model, {}, parts=8)
    assert len(one[0]) == 2
    assert_equal(
        gradients(model, lambda: ContrastiveLoss(model, TEMPERATURE)(*one)),
        gradients(model, lambda: ContrastiveLoss(model, TEMPERATURE)(*other)),
    )


def test_a_batch_holds_each_passage_once_and_the_prompts(model: Any) -> None:
    shared = [example("w1", ["a"], ["c"]), example("w2", ["b"], ["c", "a"])]
    collator = RetrieverCollator(
        preprocess=lambda texts, prompt, task: {
            "input_ids": torch.tensor([[len(texts)]]),
            "told": (texts, prompt, task),
        },
        query_prompt="query: ",
        document_prompt="",
    )
    batch = collator(shared)
    assert batch["query_told"] == (["w1", "w2"], "query: ", "query")
    assert batch["passage0_told"] == (["text of a", "text of c", "text of b"], None, "document")
    assert batch["marks"]["rows"].tolist() == [0, 1]
    assert batch["marks"]["targets"].tolist() == [0, 2]


def test_the_longest_passages_come_first() -> None:
    sized = [Example("q", [StoredPassage("x" * n, n, n) for n in range(1, 80)], 1, [])]
    collator = RetrieverCollator(preprocess=lambda texts, **_: {"input_ids": texts}, parts=2)
    batch = collator(sized)
    assert [len(text) for text in batch["passage0_input_ids"] + batch["passage1_input_ids"]] == list(range(79, 0, -1))
    assert batch["marks"]["targets"].tolist() == [78]


def test_lists_have_a_one_for_each_positive() -> None:
    made = [example("q0", ["a", "b"], ["c"]), example("q1", ["d"], ["e", "f"])]
    lists, pairs = ListCollator()(made), PairCollator()(made)
    assert [label.tolist() for label in lists["label"]] == [[1, 1, 0], [1, 0, 0]]
    assert [len(docs) for docs in lists["docs"]] == [3, 3]
    assert pairs["label"].tolist() == [1, 1, 0, 1, 0, 0]
    assert list(zip(pairs["query"], pairs["doc"], strict=True))[:3] == [("q0", f"text of {name}") for name in "abc"]


class Scores(torch.nn.Module):  # type: ignore[misc, name-defined]  # untyped
    """A cross-encoder that gives each passage the score it is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def preprocess(self, pairs: list[tuple[str, str]], **_: Any) -> dict[str, Any]:
        return {"scores": torch.tensor([float(text) for _, text in pairs])}

    def forward(self, features: dict[str, Any]) -> dict[str, Any]:
        return {"scores": features["scores"] * self.weight}


@pytest.mark.parametrize("mini_batch", [None, 1, 2, 9])
def test_the_listwise_loss_contrasts_each_positive_with_the_negatives(mini_batch: int | None) -> None:
    lists = [["1.0", "2.0", "0.5"], ["0.1", "0.2"], ["3.0"]]
    labels = [torch.tensor([1.0, 1.0, 0.0]), torch.tensor([0.0, 1.0]), torch.tensor([1.0])]
    found = ListwiseLoss(Scores(), mini_batch)([["a", "b", "c"], lists], labels)

    def term(positive: float, *negatives: float) -> Any:
        return torch.logsumexp(torch.tensor([positive, *negatives]), 0) - positive

    expected = ((term(1.0, 0.5) + term(2.0, 0.5)) / 2 + term(0.2, 0.1) + 0) / 3
    assert found.item() == pytest.approx(expected.item(), abs=1e-6)


def _on_two_devices(rank: int, port: int, folder: str) -> None:
    """One of two processes: its half of the queries, and the gradients that DDP would average."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    examples = CASES["devices"]
    half = examples[rank * 2 : rank * 2 + 2]
    queries, vectors = embeddings(4, 1), embeddings(len(distinct(examples)), 2)
    own = [distinct(examples).index(p) for p in distinct(half)]
    loss = contrast(queries[rank * 2 : rank * 2 + 2], vectors[own], make_marks(half, distinct(half)), TEMPERATURE)
    found = torch.autograd.grad(loss, (queries, vectors))
    for gradient in found:
        torch.distributed.all_reduce(gradient)
    torch.save((loss.detach(), [gradient / 2 for gradient in found]), f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


# Devices have different numbers of passages. Three are on both: a negative of both, and each one's positive as the
# other's negative.
CASES["devices"] = [
    example("q0", ["p0"], ["n0", "n0b", "p3"], ["p2"]),
    example("q1", ["p1"], ["n1"]),
    example("q2", ["p2"], ["p1"]),
    example("q3", ["p3"], ["n0"], ["n0b", "p0"]),
]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_two_devices_do_what_one_would(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Forked: a new interpreter would import everything once more.
    torch.multiprocessing.start_processes(_on_two_devices, (port, str(tmp_path)), nprocs=2, start_method="fork")
    halves = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    examples = CASES["devices"]
    queries, vectors = embeddings(4, 1), embeddings(len(distinct(examples)), 2)
    whole = contrast(queries, vectors, make_marks(examples, distinct(examples)), TEMPERATURE)
    assert (halves[0][0] + halves[1][0]).item() / 2 == pytest.approx(whole.item(), abs=1e-5)
    for found in (halves[0][1], halves[1][1]):
        for mine, right in zip(found, torch.autograd.grad(whole, (queries, vectors), retain_graph=True), strict=True):
            assert torch.allclose(mine, right, atol=1e-5)
