import pytest

from arhn.errors import UnknownTask
from arhn.evaluate.beir import canonical_name, choose_sets, in_domain

#: What RLHN and ARHN train on, as their data name it.
TRAINED = ("msmarco_passage", "hotpotqa", "nq", "fever", "scidocsrr", "fiqa", "arguana")


def test_the_papers_sixteen() -> None:
    names = [each.name for each in choose_sets(["beir16"])]
    assert len(names) == len(set(names)) == 16
    assert {each.name for each in choose_sets(["beir12"])} == {e.name for e in choose_sets(["beir16"]) if e.task}


def test_what_is_out_of_the_papers_domain_is_the_papers_seven() -> None:
    out = {each.name for each in choose_sets(["beir16"]) if not in_domain(each.name, TRAINED)}
    assert out == {"trec-covid", "nfcorpus", "touche2020", "trec-news", "robust04", "signal1m", "bioasq"}


@pytest.mark.parametrize(
    ("name", "known"),
    [("FiQA2018", "fiqa"), ("BeIR/webis-touche2020", "touche2020"), ("TRECCOVID", "trec-covid"),
     ("scidocsrr", "scidocs"), ("hotpotqa_train", "hotpotqa"), ("DBPedia-Entity", "dbpedia"), ("nfcorpus", "nfcorpus"),
     ("Signal-1M (RT)", "signal1m"), ("TREC-NEWS", "trec-news"), ("msmarco-passage", "msmarco"),
     ("xquad_windows", "xquadwindows"), ("train", "train"), ("Climate-FEVER", "climate-fever")],
)  # fmt: skip
def test_names_in_their_spellings(name: str, known: str) -> None:
    assert canonical_name(name) == known


def test_any_other_data_set_is_in_domain_where_it_was_trained_on() -> None:
    assert in_domain("xquad_windows", ["XQuAD-windows_train"])
    assert not in_domain("cranfield", ["xquad_windows"])
    assert not in_domain("cranfield", [])
    assert not in_domain("fever", ["climate-fever"])


def test_names_and_suites_mix_and_come_once() -> None:
    assert [each.name for each in choose_sets(["quora", "BEIR12", "SciFact", "nq"])][:2] == ["quora", "trec-covid"]
    assert len(choose_sets(["quora", "beir12", "SciFact", "nq"])) == 13


def test_every_task_is_one_of_mteb() -> None:
    mteb = pytest.importorskip("mteb")
    for each in choose_sets(["beir12", "msmarco", "quora"]):
        assert each.task is not None
        assert "default" in mteb.get_task(each.task).hf_subsets


@pytest.mark.parametrize(
    ("given", "hint"), [("nfcorpuss", "Did you mean nfcorpus"), ("bier16", "beir16"), ("?", "--data")]
)
def test_an_unknown_task_is_told_with_those_that_there_are(given: str, hint: str) -> None:
    with pytest.raises(UnknownTask, match=r"no such data set or suite") as error:
        choose_sets([given])
    assert hint in str(error.value)
