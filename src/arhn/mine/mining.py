"""Hard negatives for the queries of a collection: retrievers find candidates, rules choose among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, islice, zip_longest

from arhn.errors import UsageError
from arhn.mine.rules import Candidate, Fate, Settings, decide_fates
from arhn.retrieval.collection import Collection, relevant_ids
from arhn.retrieval.search import Hits, Searcher
from arhn.types import Group, Passage

#: Queries whose candidates are held in memory together.
BATCH = 256

#: Called with a query_id and a passage: whether cleaning filtered the passage from the query before.
WasFiltered = Callable[[str, Passage], bool]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined:
    """A query's group, and what became of each passage that was found for it.

    `group` is None where no labelled positive has a text; it may have fewer negatives than wanted, or none.
    `candidates` are in the order of their ranks, and `fates` are theirs. `positives_found` and `identical` count the
    found passages that are no candidates: labelled positives, and the passage whose doc_id is the query_id (BEIR leaves
    it out too). `blank_positives` counts labelled positives without a text, `judged` the negatives that the qrels judge
    as not relevant.
    """

    query_id: str
    group: Group | None
    candidates: tuple[Candidate, ...]
    fates: tuple[Fate, ...]
    positives_found: int
    identical: int
    blank_positives: int
    judged: int


def mine(
    collection: Collection,
    searchers: Sequence[Searcher],
    settings: Settings,
    *,
    scorer: Searcher | None = None,
    filtered: WasFiltered = lambda *_: False,
) -> Iterator[Mined]:
    """Mine hard negatives for every query of a collection, in the order of the queries.

    The lists of several retrievers are interleaved: the best passage of each, then the second of each, and so on, each
    passage once. Ranks refer to that list.

    Args:
        searchers: the retrievers over `collection.corpus`.
        scorer: the retriever whose scores the rules compare; by default the first. It also scores the passages that
            only others found.
        filtered: whether cleaning filtered a passage from a query before; such a passage is never a negative.

    Raises:
        UsageError: there is no retriever.
        what the retrievers raise.
    """
    if not searchers:
        raise UsageError("Mining needs at least one retriever, and got none. Name one.")
    return _Miner(collection, searchers, settings, scorer or searchers[0], filtered).mine_all()


@dataclass(frozen=True, slots=True)
class _Pool:
    """What was found for one query, without its positives and itself.

    `positives` are positions by doc_id, `positions` those of the candidates in the order of their ranks, and `scores`
    the scorer's by position.
    """

    query_id: str
    positives: Mapping[str, int]
    positions: list[int]
    scores: dict[int, float]
    positives_found: int
    identical: int


@dataclass(frozen=True, slots=True)
class _Miner:
    collection: Collection
    searchers: Sequence[Searcher]
    settings: Settings
    scorer: Searcher
    filtered: WasFiltered

    def mine_all(self) -> Iterator[Mined]:
        pools = self._search()
        while batch := list(islice(pools, BATCH)):
            if self.settings.by_score:
                self._add_scores(batch)
            yield from map(self._mine_query, batch)

    def _search(self) -> Iterator[_Pool]:
        texts = list(self.collection.queries.values())
        # Deep enough to fill the range even if all positives and the query itself rank first.
        most = max((len(relevant_ids(grades)) for grades in self.collection.qrels.values()), default=0)
        depth = self.settings.range_max + most + 1
        found = zip(*(searcher.search(texts, depth) for searcher in self.searchers), strict=True)
        for query_id, hits in zip(self.collection.queries, found, strict=True):
            yield self._make_pool(query_id, hits)

    def _make_pool(self, query_id: str, found: Sequence[Hits]) -> _Pool:
        positives = self.collection.corpus.find_positions(self.collection.positives(query_id))
        itself = {*self.collection.corpus.find_positions([query_id]).values()} - {*positives.values()}
        merged = interleave([hits.positions.tolist() for hits in found])
        out = itself.union(positives.values())
        scores: dict[int, float] = {}
        for searcher, hits in zip(self.searchers, found, strict=True):
            if searcher is self.scorer:
                scores.update(zip(hits.positions.tolist(), hits.scores.tolist(), strict=True))
        return _Pool(
            query_id=query_id,
            positives=positives,
            positions=[position for position in merged if position not in out][: self.settings.range_max],
            scores=scores,
            positives_found=len({*positives.values()}.intersection(merged)),
            identical=len(itself.intersection(merged)),
        )

    def _add_scores(self, pools: Sequence[_Pool]) -> None:
        """Add the scores that the searches didn't return."""
        lacking = [
            [p for p in dict.fromkeys(chain(pool.positives.values(), pool.positions)) if p not in pool.scores]
            for pool in pools
        ]
        texts = [self.collection.queries[pool.query_id] for pool in pools]
        for pool, positions, scores in zip(pools, lacking, self.scorer.score(texts, lacking), strict=True):
            pool.scores.update(zip(positions, scores.tolist(), strict=True))

    def _mine_query(self, pool: _Pool) -> Mined:
        corpus, first = self.collection.corpus, self.settings.range_min
        passages = map(_give_text, corpus.read_at(pool.positions[first:]))
        read = dict(zip(pool.positions[first:], passages, strict=True))
        candidates = tuple(
            Candidate(position=p, rank=rank, score=pool.scores.get(p), passage=read.get(p))
            for rank, p in enumerate(pool.positions, 1)
        )
        places = [*pool.positives.values()]
        labelled = dict(zip(places, corpus.read_at(places), strict=True))
        labelled = {place: _give_text(passage) for place, passage in labelled.items()}
        positives = {place: passage for place, passage in labelled.items() if passage.text.strip()}
        scores = [pool.scores[place] for place in positives] if self.settings.by_score else []
        filtered = partial(self.filtered, pool.query_id)
        found = tuple(decide_fates(candidates, [*labelled.values()], scores, self.settings, pool.query_id, filtered))
        negatives = [c.passage for c, fate in zip(candidates, found, strict=True) if fate is Fate.CHOSEN and c.passage]
        return Mined(
            query_id=pool.query_id,
            group=self._make_group(pool.query_id, [*positives.values()], negatives) if positives else None,
            candidates=candidates,
            fates=found,
            positives_found=pool.positives_found,
            identical=pool.identical,
            blank_positives=len(labelled) - len(positives),
            judged=sum(passage.doc_id in self.collection.qrels[pool.query_id] for passage in negatives),
        )

    def _make_group(self, query_id: str, positives: Sequence[Passage], negatives: Sequence[Passage]) -> Group:
        query = self.collection.queries[query_id]
        return Group(query_id=query_id, query=query, positives=tuple(positives), negatives=tuple(negatives))


def _give_text(passage: Passage) -> Passage:
    """What has a title and no text is a passage all the same: its title is its text."""
    if passage.text.strip() or not passage.title.strip():
        return passage
    return replace(passage, text=passage.title, title="")


def interleave(lists: Sequence[Sequence[int]]) -> list[int]:
    """Merge lists: the first item of each, then the second of each, and so on; each item once."""
    turns = chain.from_iterable(zip_longest(*lists))
    return [item for item in dict.fromkeys(turns) if item is not None]
