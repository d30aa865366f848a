"""Groups in memory to train on: each distinct text once, everything else as numbers in flat arrays.

A distinct passage takes its text in UTF-8 and 28 bytes, each use of it in a group 4 bytes, and a group with one
positive its query and about 50 bytes. While groups are read, each distinct passage takes about 250 bytes more.
"""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from arhn.errors import NothingToTrain, describe_count
from arhn.families.data_set_names import find_family, list_names
from arhn.retrieval.embedder import as_text
from arhn.train.filtered_passages import FilteredPassages, doc_key, query_key, text_key
from arhn.types import Group, Passage


class StoredPassage(NamedTuple):
    """A passage in training: its text, and the keys of its doc_id (`doc`) and of its text (`key`)."""

    text: str
    doc: int
    key: int


class StoredGroup(NamedTuple):
    """A group in training. `positives` and `negatives` are numbers of passages, for `GroupStore.passage`.

    `key` is the query's, and equal for equal queries. `forbidden` are keys of passages that may not be negatives of the
    query: its positives and the passages filtered from it, in this group and in all others with the same query.
    """

    query: str
    key: int
    positives: Sequence[int]
    negatives: Sequence[int]
    forbidden: Sequence[int]


@dataclass(slots=True)
class GroupCounts:
    """Counts of the groups that were read.

    `read` groups were read, `used` are trained on, and `no_negatives` were left out because they have too few
    negatives. `contradicted` counts negatives that were left out because they are positives of the same query, or were
    filtered from it. `positives` and `negatives` are those in use, `texts` the distinct texts, and `filtered` the
    passages that cleaning filtered. `sets` counts groups by the data set they name, `unnamed` those that name none.
    """

    read: int = 0
    used: int = 0
    no_negatives: int = 0
    contradicted: int = 0
    positives: int = 0
    negatives: int = 0
    texts: int = 0
    filtered: int = 0
    sets: Counter[str] = field(default_factory=Counter)
    unnamed: int = 0


class TextBuffer:
    """Distinct strings in one buffer, by number."""

    def __init__(self) -> None:
        self._bytes = bytearray()
        self._ends = array("q", [0])
        self._index: dict[bytes, int] = {}

    def __len__(self) -> int:
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> str:
        return self._bytes[self._ends[index] : self._ends[index + 1]].decode("utf-8", "surrogatepass")

    @property
    def bytes(self) -> int:
        """Bytes of memory in use, without those that only `add` needs."""
        return len(self._bytes) + self._ends.itemsize * len(self._ends)

    def add(self, text: str) -> int:
        """Add a text unless it is there, and return its number."""
        data = text.encode("utf-8", "surrogatepass")
        digest = hashlib.blake2b(data, digest_size=16).digest()
        index = self._index.get(digest)
        if index is None:
            index = self._index[digest] = len(self)
            self._bytes += data
            self._ends.append(len(self._bytes))
        return index

    def freeze(self) -> None:
        """Free the memory that only `add` needs; call it once all texts are added."""
        self._index = {}


class GroupStore:
    """Groups to train on, by index. `gather` makes one."""

    def __init__(self) -> None:
        self._texts = TextBuffer()
        self._text, self._doc, self._key = array("i"), array("q"), array("q")
        self._query, self._query_key = array("i"), array("q")
        # Passages of group i: _members[_starts[i]:_starts[i + 1]], the first _positives[i] of them positives.
        self._members, self._starts, self._positives = array("i"), array("q", [0]), array("i")
        self._forbidden, self._forbidden_starts = array("q"), array("q", [0])
        self.counts = GroupCounts()
        self.sha256 = ""

    def __len__(self) -> int:
        return len(self._query)

    def __getitem__(self, index: int) -> StoredGroup:
        start, end = self._starts[index], self._starts[index + 1]
        middle = start + self._positives[index]
        return StoredGroup(
            query=self._texts[self._query[index]],
            key=self._query_key[index],
            positives=self._members[start:middle],
            negatives=self._members[middle:end],
            forbidden=self._forbidden[self._forbidden_starts[index] : self._forbidden_starts[index + 1]],
        )

    def passage(self, index: int) -> StoredPassage:
        """The passage with a number that a `StoredGroup` holds."""
        return StoredPassage(self._texts[self._text[index]], self._doc[index], self._key[index])

    @property
    def bytes(self) -> int:
        """Bytes of memory in use, once all groups are read."""
        arrays = (self._text, self._doc, self._key, self._query, self._query_key, self._members, self._starts)
        more = (self._positives, self._forbidden, self._forbidden_starts)
        return self._texts.bytes + sum(len(each) * each.itemsize for each in (*arrays, *more))


def gather(groups: Iterable[Group], filtered: FilteredPassages | None = None, *, min_negatives: int = 1) -> GroupStore:
    """Read groups into memory.

    Args:
        filtered: the passages that cleaning filtered from queries.
        min_negatives: groups with fewer usable negatives are left out, and counted.

    Raises:
        NothingToTrain: there are no groups, or none has enough negatives.
        what reading `groups` raises.
    """
    store = _Gatherer(filtered or FilteredPassages(), min_negatives).gather(groups)
    counts = store.counts
    if not counts.read:
        raise NothingToTrain("no groups to train on: the input is empty. Give groups with positives and negatives")
    if not counts.used:
        raise NothingToTrain(
            f"no groups to train on: none of {counts.read} has {describe_count(min_negatives, 'negative')} or more "
            f"({counts.contradicted} were left out because they are positives of their query, or were filtered from "
            "it). Mine or keep more, or take groups without hard negatives: --set min_negatives=0"
        )
    return store


class _Gatherer:
    """Fills a GroupStore: first it reads every group, then it decides which negatives are allowed, given all groups."""

    def __init__(self, filtered: FilteredPassages, min_negatives: int) -> None:
        self.store = GroupStore()
        self._filtered = filtered
        self._min_negatives = min_negatives
        self._passages: dict[int, int] = {}
        self._texts_of: defaultdict[int, set[int]] = defaultdict(set)
        # Per group read: query, query key, members, number of positives, keys of filtered passages.
        self._raw: list[tuple[int, int, array[int], int, array[int] | None]] = []
        self._hash = hashlib.sha256()

    def gather(self, groups: Iterable[Group]) -> GroupStore:
        wanted = {key for keys in self._filtered.keys.values() for key in keys}
        for group in groups:
            self._add_group(group, wanted)
        self._finish()
        return self.store

    def _add_group(self, group: Group, wanted: set[int]) -> None:
        counts = self.store.counts
        counts.read += 1
        name = find_data_set(group)
        if name is None:
            counts.unnamed += 1
        else:
            counts.sets[name] += 1
        members = array("i", (self._add_passage(passage, wanted) for passage in group.passages))
        query = self.store._texts.add(group.query)
        filtered = self._filtered.keys.get(group.query_id)
        self._raw.append((query, query_key(group.query), members, len(group.positives), filtered))
        self._update_hash(group, filtered)

    def _add_passage(self, passage: Passage, wanted: set[int]) -> int:
        """The number of a passage, a new one unless a passage with its `doc_id` and text is there."""
        store, text = self.store, as_text(passage)
        doc, number = doc_key(passage.doc_id), store._texts.add(text)
        combined = (doc << 32) | number
        index = self._passages.get(combined)
        if index is None:
            index = self._passages[combined] = len(store._text)
            key = text_key(text)
            store._text.append(number)
            store._doc.append(doc)
            store._key.append(key)
            if doc in wanted:
                self._texts_of[doc].add(key)
        return index

    def _update_hash(self, group: Group, filtered: array[int] | None) -> None:
        """Add to the hash all that training uses of a group."""
        parts = [group.query_id, group.query, str(len(group.positives))]
        parts += [part for passage in group.passages for part in (passage.doc_id, as_text(passage))]
        for part in (*parts, *map(str, sorted(filtered or ()))):
            data = part.encode("utf-8", "surrogatepass")
            self._hash.update(len(data).to_bytes(8, "little") + data)

    def _finish(self) -> None:
        store, counts = self.store, self.store.counts
        self._passages = {}
        store._texts.freeze()
        same_query = self._find_same_queries()
        for index, (query, key, members, positives, _) in enumerate(self._raw):
            twins = same_query.get(key, [index])
            self._store(query, key, members, positives, set().union(*map(self._list_forbidden, twins)))
        counts.used = len(store)
        counts.texts = len(store._texts)
        counts.filtered = self._filtered.passages
        store.sha256 = self._hash.hexdigest()
        self._raw = []

    def _store(self, query: int, key: int, members: array[int], positives: int, forbidden: set[int]) -> None:
        store, counts = self.store, self.store.counts
        negatives = [
            member
            for member in members[positives:]
            if store._doc[member] not in forbidden and store._key[member] not in forbidden
        ]
        counts.contradicted += len(members) - positives - len(negatives)
        if len(negatives) < self._min_negatives:
            counts.no_negatives += 1
            return
        counts.positives += positives
        counts.negatives += len(negatives)
        store._query.append(query)
        store._query_key.append(key)
        store._positives.append(positives)
        store._members.extend(members[:positives])
        store._members.extend(negatives)
        store._starts.append(len(store._members))
        store._forbidden.extend(sorted(forbidden))
        store._forbidden_starts.append(len(store._forbidden))

    def _find_same_queries(self) -> dict[int, list[int]]:
        """The indices of groups with the same query, by the query's key."""
        first: dict[int, int] = {}
        several: dict[int, list[int]] = {}
        for index, (_, key, *_) in enumerate(self._raw):
            if first.setdefault(key, index) != index:
                several.setdefault(key, [first[key]]).append(index)
        return several

    def _list_forbidden(self, index: int) -> set[int]:
        _, _, members, positives, filtered = self._raw[index]
        store = self.store
        forbidden = {key for member in members[:positives] for key in (store._doc[member], store._key[member])}
        for key in filtered or ():
            forbidden.add(key)
            forbidden |= self._texts_of.get(key, set())
        return forbidden


def find_data_set(group: Group) -> str | None:
    """The data set that a group names: of several names the first well-known one, else the first; None for no name."""
    names = [name for _, name in list_names(group)]
    return next((name for name in names if find_family(name)), names[0] if names else None)
