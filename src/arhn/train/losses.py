"""The losses of retrievers and rerankers. This module imports torch; import it where training begins.

For a query q with a positive p, the contrastive loss (InfoNCE, van den Oord et al., arXiv 1807.03748) is

    -log( exp(s(q, p) / t) / (exp(s(q, p) / t) + sum over n of exp(s(q, n) / t)) )

with the cosine s, the temperature t, and as n every distinct passage of the batch, over all devices, that isn't
forbidden for q: its own hard negatives, and the other queries' passages. Forbidden are q's positives and what cleaning
filtered from it. Where no passage is forbidden or occurs twice, this is sentence-transformers'
MultipleNegativesRankingLoss with scale 1/t. With several positives at once, the terms of q's positives are averaged, as
in supervised contrastive learning (Khosla et al., arXiv 2004.11362, eq. 2), but q's other positives are left out of
each denominator: there they would count as negatives of each other.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypedDict, cast

import torch
from sentence_transformers.base.losses import CachedLossMixin
from sentence_transformers.util import all_gather, all_gather_with_grad, get_rank, get_world_size
from torch import Tensor, nn
from torch.nn import functional


class Marks(TypedDict):
    """Which passage of a batch is what for which query; all int64.

    `columns` (passages, 2): the keys of each passage's doc_id and text. `rows`, `targets` (terms,): a query and the
    passage that is its positive, queries in rising order, each at least once. `forbidden_rows`, `forbidden_keys`
    (pairs,): a query and a key of passages that are no negatives of it.
    """

    columns: Tensor
    rows: Tensor
    targets: Tensor
    forbidden_rows: Tensor
    forbidden_keys: Tensor


class ContrastiveLoss(nn.Module):
    """The loss above, for a SentenceTransformer. The first features are the queries', all others passages'."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, features: Iterable[dict[str, Tensor]], marks: Marks) -> Tensor:
        """The mean over queries. `marks` number the passages in the order of the features."""
        queries, *passages = (self.model(each)["sentence_embedding"] for each in features)
        return contrast(queries, torch.cat(passages), marks, self.temperature)


class CachedContrastiveLoss(CachedLossMixin, nn.Module):
    """The same loss and gradients in the memory of `mini_batch_size` texts (GradCache, arXiv 2101.06983).

    Everything is embedded twice: first without, then with activations.
    """

    def __init__(self, model: nn.Module, temperature: float, mini_batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.mini_batch_size = mini_batch_size

    def forward(self, features: Iterable[dict[str, Tensor]], marks: Marks) -> Tensor:
        """As `ContrastiveLoss.forward`."""
        # Whatever is given as labels comes back in `calculate_loss`.
        return self.forward_cached(features, cast("Tensor", marks))

    def calculate_loss(self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False) -> Tensor:
        """The loss of embeddings in mini-batches; `with_backward`, their gradients are made, and it is detached."""
        queries, *passages = (torch.cat(column) for column in reps)
        loss = contrast(queries, torch.cat(passages), labels, self.temperature)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss


def contrast(queries: Tensor, passages: Tensor, marks: Marks, temperature: float) -> Tensor:
    """The mean loss of this device's queries against the passages of all devices.

    Args:
        queries: embeddings (queries, dimensions); passages: (passages, dimensions), as `marks` number them.
    """
    passages, columns, surplus, offset = _gathered(passages, marks["columns"])
    cosines = functional.normalize(queries.float(), dim=1) @ functional.normalize(passages.float(), dim=1).T
    blocked = forbidden(columns, marks, len(queries))
    if surplus is not None:
        blocked |= surplus
    rows, targets = marks["rows"], marks["targets"] + offset
    if len(rows) != len(queries):  # several positives a query
        cosines, blocked = cosines[rows], blocked[rows]
    blocked[torch.arange(len(rows), device=rows.device), targets] = False
    logits = (cosines / temperature).masked_fill(blocked, -torch.inf)
    terms = functional.cross_entropy(logits, targets, reduction="none")
    weights = 1 / torch.bincount(rows, minlength=len(queries))[rows]
    return (terms * weights).sum() / len(queries)


def forbidden(columns: Tensor, marks: Marks, queries: int) -> Tensor:
    """Which passages are forbidden for which query: (queries, passages), true where one of their keys is forbidden.

    Sorted search, so that no comparison of every forbidden key with every passage is needed.
    """
    keys, order = columns.flatten().sort()
    wanted = marks["forbidden_keys"]
    start, end = torch.searchsorted(keys, wanted), torch.searchsorted(keys, wanted, right=True)
    found = end - start
    rows = marks["forbidden_rows"].repeat_interleave(found)
    first = (found.cumsum(0) - found).repeat_interleave(found)
    places = start.repeat_interleave(found) + torch.arange(len(rows), device=rows.device) - first
    blocked = torch.zeros(queries, len(columns), dtype=torch.bool, device=columns.device)
    blocked[rows, order[places] // columns.shape[1]] = True
    return blocked


def _gathered(passages: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """The passages and keys of all devices, which of them don't count, and the number of this device's first one.

    Devices have different numbers of passages, but a gather wants equal ones: what fills up doesn't count, nor does a
    passage that a device before has too.
    """
    if get_world_size() == 1:
        return passages, columns, None, 0
    count = torch.tensor(len(passages), device=passages.device)
    torch.distributed.all_reduce(count, op=torch.distributed.ReduceOp.MAX)
    most = int(count.item())
    missing = most - len(passages)
    padding = (torch.arange(most, device=passages.device) >= len(passages)).to(torch.uint8)
    passages = all_gather_with_grad(functional.pad(passages, (0, 0, 0, missing)))
    columns = all_gather(functional.pad(columns, (0, 0, 0, missing)))
    return passages, columns, all_gather(padding).bool() | _again(columns), get_rank() * most


def _again(columns: Tensor) -> Tensor:
    """Which rows were there before: (rows,)."""
    distinct, numbers = columns.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    places = torch.arange(len(columns), device=columns.device)
    first = places.new_full((len(distinct),), len(columns)).scatter_reduce(0, numbers, places, "amin")
    return first[numbers] < places


class ListwiseLoss(nn.Module):
    """Localized contrastive estimation for cross-encoders (Gao et al., arXiv 2101.08751), for several positives.

    Each positive of a list is contrasted with the list's negatives, the terms of a list are averaged, then those of
    the lists. `mini_batch_size` pairs are scored at once; all, where it is None.
    """

    def __init__(self, model: Any, mini_batch_size: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = mini_batch_size

    def forward(
        self, inputs: list[list[Any]], labels: list[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """`inputs` are queries and, for each, its passages; `labels` are above 0 for positives."""
        queries, lists = inputs
        pairs = [(query, passage) for query, passages in zip(queries, lists, strict=True) for passage in passages]
        scores = torch.split(self._scores(pairs, prompt, task), [len(passages) for passages in lists])
        return torch.stack([_list_loss(s, mine > 0) for s, mine in zip(scores, labels, strict=True)]).mean()

    def _scores(self, pairs: list[tuple[str, str]], prompt: str | None, task: str | None) -> Tensor:
        size = self.mini_batch_size or len(pairs)
        chunks = [pairs[i : i + size] for i in range(0, len(pairs), size)]
        device = next(self.model.parameters()).device
        scores = []
        for chunk in chunks:
            tokens = self.model.preprocess(chunk, prompt=prompt, task=task)
            moved = {name: value.to(device) if isinstance(value, Tensor) else value for name, value in tokens.items()}
            scores.append(self.model(moved)["scores"].view(-1))
        return torch.cat(scores).float()


def _list_loss(scores: Tensor, positive: Tensor) -> Tensor:
    positive = positive.to(scores.device)
    chosen, others = scores[positive], scores[~positive]
    logits = torch.cat([chosen[:, None], others.expand(len(chosen), -1)], dim=1)
    return functional.cross_entropy(logits, torch.zeros(len(chosen), dtype=torch.long, device=scores.device))
