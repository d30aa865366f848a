"""The losses of retrievers and rerankers. This module imports torch, so import it only where training starts.

For a query q with a positive p, the contrastive loss (InfoNCE, van den Oord et al., arXiv 1807.03748) is

    -log( exp(s(q, p) / t) / (exp(s(q, p) / t) + sum over n of exp(s(q, n) / t)) )

where s is the cosine, t the temperature, and n runs over the distinct passages of the batch, on all devices, that
aren't forbidden for q: its own hard negatives and the other queries' passages. Forbidden are q's positives and the
passages that cleaning filtered from q. If no passage is forbidden or occurs twice, this is sentence-transformers'
MultipleNegativesRankingLoss with scale 1/t. With several positives at once, the terms of q's positives are averaged, as
in supervised contrastive learning (Khosla et al., arXiv 2004.11362, eq. 2), but each denominator leaves out q's other
positives, which would otherwise count as negatives of each other.
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
    """Which passages of a batch are positives of which queries, and which are forbidden. All tensors are int64.

    `columns`, shape (passages, 2): the keys of each passage's doc_id and text. `rows` and `targets`, shape (terms,):
    the numbers of a query and of a passage that is its positive; queries in rising order, each at least once.
    `forbidden_rows` and `forbidden_keys`, shape (pairs,): the number of a query, and a key of passages that may not be
    negatives of it.
    """

    columns: Tensor
    rows: Tensor
    targets: Tensor
    forbidden_rows: Tensor
    forbidden_keys: Tensor


class ContrastiveLoss(nn.Module):
    """The contrastive loss for a SentenceTransformer. The first features are the queries', all others are passages'."""

    def __init__(self, model: nn.Module, temperature: float) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature

    def forward(self, features: Iterable[dict[str, Tensor]], marks: Marks) -> Tensor:
        """The mean loss over queries. `marks` number the passages in the order of the features."""
        queries, *passages = (self.model(each)["sentence_embedding"] for each in features)
        return contrast(queries, torch.cat(passages), marks, self.temperature)


class CachedContrastiveLoss(CachedLossMixin, nn.Module):
    """The same loss and gradients with the memory that `mini_batch_size` texts need (GradCache, arXiv 2101.06983).

    Every text is embedded twice: first without storing activations, then with.
    """

    def __init__(self, model: nn.Module, temperature: float, mini_batch_size: int) -> None:
        super().__init__()
        self.model = model
        self.temperature = temperature
        self.mini_batch_size = mini_batch_size

    def forward(self, features: Iterable[dict[str, Tensor]], marks: Marks) -> Tensor:
        """As `ContrastiveLoss.forward`."""
        # The library passes these "labels" on to `calculate_loss`.
        return self.forward_cached(features, cast("Tensor", marks))

    def calculate_loss(self, reps: list[list[Tensor]], labels: Any = None, *, with_backward: bool = False) -> Tensor:
        """The loss of embeddings in mini-batches.

        Args:
            reps: the embeddings: for each of the features, its mini-batches, shape (texts, dimensions) each.
            labels: the marks.
            with_backward: compute the embeddings' gradients, and detach the loss.
        """
        queries, *passages = (torch.cat(column) for column in reps)
        loss = contrast(queries, torch.cat(passages), labels, self.temperature)
        if with_backward:
            loss.backward()  # type: ignore[no-untyped-call]
            loss = loss.detach()
        return loss


def contrast(queries: Tensor, passages: Tensor, marks: Marks, temperature: float) -> Tensor:
    """The mean contrastive loss of this device's queries against the passages of all devices.

    Args:
        queries: embeddings, shape (queries, dimensions).
        passages: embeddings, shape (passages, dimensions), in the order of `marks`.
        marks: what the passages are for the queries.
        temperature: by which cosines are divided.
    """
    passages, columns, surplus, offset = _gather_devices(passages, marks["columns"])
    cosines = functional.normalize(queries.float(), dim=1) @ functional.normalize(passages.float(), dim=1).T
    blocked = mask_forbidden(columns, marks, len(queries))
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


def mask_forbidden(columns: Tensor, marks: Marks, queries: int) -> Tensor:
    """A mask of forbidden passages, shape (queries, passages): true where a passage has a forbidden key of the query.

    Keys are found by binary search, so that not every forbidden key is compared with every passage.

    Args:
        columns: the keys of the passages, shape (passages, 2).
        queries: the number of queries.
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


def _gather_devices(passages: Tensor, columns: Tensor) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Gather the passages of all devices.

    Devices have different numbers of passages, but gathering needs equal ones, so they are padded. Padding doesn't
    count, nor does a passage that an earlier device has too.

    Returns:
        The embeddings and keys of all passages, a mask of those that don't count (None on one device), and the number
        of this device's first passage among them.
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
    return passages, columns, all_gather(padding).bool() | _find_repeated(columns), get_rank() * most


def _find_repeated(columns: Tensor) -> Tensor:
    """A mask, shape (rows,), of the rows that equal an earlier one."""
    distinct, numbers = columns.unique(dim=0, return_inverse=True)  # type: ignore[no-untyped-call]
    places = torch.arange(len(columns), device=columns.device)
    first = places.new_full((len(distinct),), len(columns)).scatter_reduce(0, numbers, places, "amin")
    return first[numbers] < places


class ListwiseLoss(nn.Module):
    """Localized contrastive estimation for cross-encoders (Gao et al., arXiv 2101.08751), for several positives.

    Each positive of a list is contrasted with the list's negatives. The loss is averaged over the positives of a list,
    then over the lists. `mini_batch_size` pairs are scored at once; all if it is None.
    """

    def __init__(self, model: Any, mini_batch_size: int | None = None) -> None:
        super().__init__()
        self.model = model
        self.mini_batch_size = mini_batch_size

    def forward(
        self, inputs: list[list[Any]], labels: list[Tensor], prompt: str | None = None, task: str | None = None
    ) -> Tensor:
        """The mean loss over lists.

        Args:
            inputs: the queries, and a list of passages for each.
            labels: for each list a tensor, shape (passages,), above 0 for positives.
            prompt, task: for the model's tokenizer.
        """
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
