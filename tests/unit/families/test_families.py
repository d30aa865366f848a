import json
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arhn import formats
from arhn.errors import UsageError
from arhn.families.choice import Choice, FamilyMap, family_of
from arhn.families.data_set_names import KNOWN, find_family, list_names
from arhn.families.family import Family
from arhn.families.form import guess
from arhn.types import Extra, Group, Passage

QUERIES = tomllib.loads(Path(__file__).with_name("queries_by_family.toml").read_text("utf-8"))


def group(query: str = "who?", negative: Extra | None = None, **extra: object) -> Group:
    return Group(
        query_id="q",
        query=query,
        positives=(Passage(doc_id="p", text="a"),),
        negatives=(Passage(doc_id="n", text="b", extra=negative or {}),),
        extra=extra,
    )


@pytest.mark.parametrize("family", QUERIES)
def test_guess_knows_queries_by_their_form(family: str) -> None:
    wrong = {query: guess(query) for query in QUERIES[family] if guess(query) != family}
    assert not wrong


def test_a_duplicate_question_looks_like_any_question() -> None:
    assert guess("How do I whistle with my fingers?") is Family.QUESTION


@pytest.mark.parametrize(
    ("query", "family"),
    [
        ("", Family.QUESTION),
        ("¿", Family.QUESTION),
        ("((", Family.QUESTION),
        (".", Family.TITLE),
        ("name an author of the red notebook.", Family.QUESTION),
        ("Name of the Rose was filmed in 1986.", Family.CLAIM),
        ("When the ice melts, the sea rises.", Family.CLAIM),
        ("in which year was the port opened", Family.QUESTION),
        ("world war i aeroplanes", Family.TITLE),
        ("The firm was sold to Tarn Inc. in 1988 by J. R. Moss.", Family.CLAIM),
        ("Find documents that discuss salt mining.", Family.TITLE),
        ("What are numbers? Do they exist? And if so, since when have they been there, and who was first?", "question"),
    ],
)
def test_guess_at_the_edges(query: str, family: str) -> None:
    assert guess(query) == family


@given(st.text())
def test_every_text_has_a_family_that_can_be_guessed(text: str) -> None:
    assert guess(text) in set(Family) - {Family.DUPLICATE}


@pytest.mark.parametrize("query", ["A. " * 20000, "What? " * 20000, "an a the on " * 9000, "(" * 50000])
@pytest.mark.timeout(10)
def test_guess_is_quick_on_odd_texts(query: str) -> None:
    guess(query)


@pytest.mark.parametrize(
    ("name", "family"),
    [
        ("msmarco_passage", "question"),
        ("ms-marco", "question"),
        ("BeIR/msmarco", "question"),
        ("sentence-transformers/natural-questions", "question"),
        ("FiQA2018", "question"),
        ("Touche2020Retrieval.v3", "question"),
        ("trec-covid", "question"),
        ("fever", "claim"),
        ("FEVER-train", "claim"),
        ("climate_fever", "claim"),
        ("ClimateFEVERHardNegatives", "claim"),
        ("somebody/scifact", "claim"),
        ("ArguAna", "argument"),
        ("scidocsrr", "title"),
        ("scidocs-rr", "title"),
        ("dbpedia-entity", "title"),
        ("quora_duplicates", "duplicate"),
        ("CQADupstackAndroidRetrieval", "duplicate"),
        ("cqadupstack/english", "duplicate"),
        ("stack_overflow_dup_questions", "duplicate"),
        ("claim", "claim"),
        ("train", None),
        ("retrieval", None),
        ("encyclopedia", None),
        ("", None),
    ],
)
def test_well_known_names_in_their_spellings(name: str, family: str | None) -> None:
    assert find_family(name) == family


def test_known_names_are_written_as_they_are_compared() -> None:
    assert all(name.isalnum() and name == name.lower() for name in KNOWN)
    assert set(KNOWN.values()) == set(Family)


def test_the_map_comes_before_the_name_and_the_name_before_the_form() -> None:
    one = group("Honey never spoils.", subset="fever")
    assert family_of(one, FamilyMap.of({"fever": "title"})) == (Family.TITLE, "map", "subset", "fever")
    assert family_of(one, FamilyMap.of({"nq": "title"})) == (Family.CLAIM, "known", "subset", "fever")
    assert family_of(group("Honey never spoils.")) == (Family.CLAIM, "guessed", None, None)


def test_the_default_is_for_every_subset_that_is_not_named() -> None:
    families = FamilyMap.of({"arguana": "argument", "*": "question"})
    assert family_of(group(subset="fever"), families) == (Family.QUESTION, "map", None, "*")
    assert family_of(group("Honey never spoils."), families).family is Family.QUESTION
    assert family_of(group(subset="arguana"), families).family is Family.ARGUMENT


def test_names_in_the_map_are_compared_as_well_known_ones_are() -> None:
    families = FamilyMap.of({"My_Set": "claim"})
    assert families.family("my-set") is Family.CLAIM
    assert families.family("my_set_train") is Family.CLAIM
    assert families.family("another set") is None


def test_a_longer_name_in_the_map_is_nearer() -> None:
    families = FamilyMap.of({"msmarco": "question", "msmarco_document": "title"})
    assert families.family("msmarco-document") is Family.TITLE
    assert families.family("msmarco-passage") is Family.QUESTION


def test_fields_in_their_order_and_one_that_says_nothing_is_no_obstacle() -> None:
    assert family_of(group(source="fever", subset="arguana")).field == "subset"
    assert family_of(group(task="retrieval", source="fever")) == (Family.CLAIM, "known", "source", "fever")
    assert list(list_names(group(subset=3, dataset=" ", task=None, source="x" * 500))) == []


def test_a_name_that_came_with_the_passages() -> None:
    assert family_of(group(negative={"subset": "arguana"})).family is Family.ARGUMENT
    two = Group(
        query_id="q",
        query="who?",
        positives=(Passage(doc_id="p", text="a", extra={"subset": "fever"}),),
        negatives=(Passage(doc_id="n", text="b", extra={"subset": "arguana"}),),
    )
    assert family_of(two).source == "guessed"


@pytest.mark.parametrize(
    "row",
    [
        {"query": "q", "pos": ["a"], "neg": ["b"], "subset": "scifact"},
        {"anchor": "q", "positive": "a", "negative": "b", "subset": "scifact"},
        {
            "query_id": "1",
            "query": "q",
            "positive_passages": [{"docid": "1", "title": "", "text": "a"}],
            "negative_passages": [{"docid": "2", "title": "", "text": "b"}],
            "subset": "scifact",
        },
    ],
)
def test_the_subset_is_found_whatever_the_format(row: dict[str, object], tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text(json.dumps(row) + "\n", "utf-8")
    (one,) = formats.read(path)
    assert family_of(one) == Choice(Family.CLAIM, "known", "subset", "scifact")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ({"fever": "claims"}, "'claims' isn't a family"),
        ({"fever": ""}, "'' isn't a family"),
        ({"": "claim"}, "'' doesn't name a subset"),
        ({"--": "claim"}, "doesn't name a subset"),
        ({3: "claim"}, "3 doesn't name a subset"),
        ({"fever": 3}, "a value of type int"),
        ({"fever": {"a": "claim"}}, "a value of type dict isn't a family"),
        ({"fever": "claim", "FEVER": "title"}, "named twice"),
        ({"*": "claim", " * ": "title"}, "named twice"),
    ],
)
def test_what_is_wrong_with_a_map(table: dict[object, object], says: str) -> None:
    with pytest.raises(UsageError, match=says.replace("*", r"\*")) as caught:
        FamilyMap.of(table)
    assert caught.value.exit_code == 2


def test_the_error_of_an_unknown_family_lists_all() -> None:
    with pytest.raises(UsageError) as caught:
        FamilyMap.of({"fever": "fact"})
    assert all(word in str(caught.value) for word in (*Family, "'fact'", "'fever'"))


def test_the_same_entry_twice_is_harmless() -> None:
    assert FamilyMap.of({"fever": "claim", "FEVER": "claim"}) == FamilyMap.of({"fever": "claim"})
