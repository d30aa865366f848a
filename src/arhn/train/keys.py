"""What makes two passages, or two queries, the same in training: numbers that can be compared in a tensor.

A passage has two keys, of its `doc_id` and of its text; one that shares either with a positive of a query, or with a
passage that cleaning filtered from it, is no negative of that query. A key is the first 64 bits of a BLAKE2b hash, as
a signed integer: among 10 million texts, two different ones share a key with a probability of 3 in a million.
"""

from __future__ import annotations

from hashlib import blake2b


def doc_key(doc_id: str) -> int:
    """The key of a `doc_id`."""
    return _key("d", doc_id)


def text_key(text: str) -> int:
    """The key of a passage's text as a model sees it (`retrieval.embedder.as_text`), whatever its whitespace."""
    return _key("t", " ".join(text.split()))


def query_key(query: str) -> int:
    """The key of a query's text, whatever its whitespace."""
    return _key("q", " ".join(query.split()))


def _key(kind: str, content: str) -> int:
    # A lone surrogate, which a group made in memory may hold, is hashed as what it is.
    data = f"{kind}\0{content}".encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little", signed=True)
