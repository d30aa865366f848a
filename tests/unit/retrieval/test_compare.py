"""`Similarity.compare` with an encoder whose vectors are known by hand."""

from collections.abc import Sequence
from typing import Any

import pytest

from arhn.retrieval import similarity
from arhn.retrieval.similarity import Likeness, Similarity
from arhn.types import Passage
from tests.conftest import passage

np = pytest.importorskip("numpy")

#: Sentences by what they are about; a longer text is the sum of its sentences. Anything else is a zero vector.
ABOUT = {
    "what do bees do?": (1.0, 0.0, 0.0, 0.0),
    "Bees dance at home.": (0.8, 0.6, 0.0, 0.0),
    "Bees dance for others.": (0.6, 0.8, 0.0, 0.0),
    "Wasps never dance so.": (0.0, 0.6, 0.8, 0.0),
    "Towers are made of iron.": (0.0, 0.0, 0.0, 1.0),
}
DANCE, OTHERS, WASPS, TOWERS = list(ABOUT)[1:]


class FakeEncoder:
    """Unit vectors, as the encoders give them; `shown` are the texts of each call."""

    identity = "fake"

    def __init__(self) -> None:
        self.shown: list[list[str]] = []

    def encode_queries(self, texts: Sequence[str]) -> Any:
        self.shown.append(list(texts))
        sums = np.array([sum((np.array(v) for s, v in ABOUT.items() if s in t), np.zeros(4)) for t in texts])
        norms = np.linalg.norm(sums, axis=1, keepdims=True)
        return (sums / np.where(norms == 0, 1, norms)).astype("float32")

    encode_documents = encode_queries


@pytest.fixture
def encoder(monkeypatch: pytest.MonkeyPatch) -> FakeEncoder:
    made = FakeEncoder()
    monkeypatch.setattr(similarity, "Embedder", lambda *_, **__: made)
    return made


@pytest.fixture
def compare(encoder: FakeEncoder) -> Any:
    scorer = Similarity("fake")

    def compared(positives: Sequence[str], negatives: Sequence[str], query: str = "what do bees do?") -> Likeness:
        return scorer.compare(query, passages("p", *positives), passages("n", *negatives))

    return compared


def passages(kind: str, *texts: str) -> list[Passage]:
    return [passage(f"{kind}{i}", text) for i, text in enumerate(texts)]


def test_each_negative_is_compared_with_query_positives_and_sentences_in_order(compare: Any) -> None:
    found = compare([DANCE], [WASPS, OTHERS, TOWERS])
    assert found.query == pytest.approx((0.0, 0.6, 0.0))
    assert found.positive == pytest.approx((0.36, 0.96, 0.0))
    assert found.sentence == found.positive
    other = compare([DANCE], [TOWERS, OTHERS, WASPS])
    assert [other.query, other.positive, other.sentence] == [
        tuple(reversed(values)) for values in (found.query, found.positive, found.sentence)
    ]


def test_the_best_sentence_counts_not_the_whole_passage(compare: Any) -> None:
    found = compare([f"{TOWERS} {DANCE}"], [f"{TOWERS} {OTHERS}", f"{OTHERS}\n{WASPS}"])
    # The positives' sentence closest to the query is the one about dancing; towers beside it change nothing.
    assert found.sentence == pytest.approx((0.96, 0.96))
    assert found.positive == pytest.approx((0.98, 0.5425), abs=1e-4)


def test_of_several_positives_the_most_like_counts_and_one_sentence_of_all(compare: Any) -> None:
    found = compare([TOWERS, WASPS, DANCE], [TOWERS, WASPS, OTHERS])
    assert found.positive == pytest.approx((1.0, 1.0, 0.96))
    # Closest to the query is the last positive's.
    assert found.sentence == pytest.approx((0.0, 0.36, 0.96))
    assert compare([DANCE, TOWERS, WASPS], [TOWERS, WASPS, OTHERS]) == found


def test_a_negative_that_equals_a_positive_is_at_one_and_is_encoded_once(encoder: FakeEncoder, compare: Any) -> None:
    found = compare([DANCE], [DANCE, WASPS, DANCE])
    assert (found.positive[0], found.sentence[0]) == (1.0, 1.0)
    assert (found.positive[0], found.sentence[0], found.query[0]) == (
        found.positive[2],
        found.sentence[2],
        found.query[2],
    )
    assert encoder.shown == [["what do bees do?"], [DANCE, WASPS]]


def test_a_zero_vector_is_like_nothing(compare: Any) -> None:
    nothing = "Nothing that is known."
    found = compare([DANCE], [nothing, OTHERS])
    assert (found.query[0], found.positive[0], found.sentence[0]) == (0.0, 0.0, 0.0)
    assert compare([nothing], [OTHERS]) == Likeness(query=(0.6,), positive=(0.0,), sentence=(0.0,))
    # Neither is a query of nothing; the first sentence then stands for the positives.
    assert compare([OTHERS, DANCE], [OTHERS], query=nothing) == Likeness(query=(0.0,), positive=(1.0,), sentence=(1.0,))


def test_without_negatives_there_is_nothing_to_compare(compare: Any) -> None:
    assert compare([DANCE], []) == Likeness(query=(), positive=(), sentence=())


def test_scores_have_six_digits_and_stay_within_one(compare: Any) -> None:
    found = compare([f"{DANCE} {WASPS}"], [f"{DANCE} {WASPS} {OTHERS}", f"{DANCE} {WASPS}"])
    for values in (found.query, found.positive, found.sentence):
        assert all(type(v) is float and v == round(v, 6) and -1 <= v <= 1 for v in values)


def test_200_negatives_of_100_sentences(encoder: FakeEncoder, compare: Any) -> None:
    found = compare(
        [DANCE], [" ".join([*[f"Number {i} of {n} says nothing." for i in range(99)], OTHERS]) for n in range(200)]
    )
    assert len(found.query) == len(found.positive) == 200
    assert set(found.sentence) == {0.96}
    assert len(encoder.shown[1]) <= 1 + 200 * 33


def test_the_query_alone_agrees_with_scores(compare: Any, encoder: FakeEncoder) -> None:
    shown = passages("n", WASPS, OTHERS, f"{DANCE} {TOWERS}")
    assert compare([DANCE], [p.text for p in shown]).query == Similarity("fake").scores("what do bees do?", shown)
