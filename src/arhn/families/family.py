"""The families of queries, each with its own definition of an answer, and the data sets that hold them."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum


class Family(StrEnum):
    """A family: queries with one definition of an answer, which is a file in `arhn/cleaning/prompts`."""

    QUESTION = "question"
    CLAIM = "claim"
    ARGUMENT = "argument"
    TITLE = "title"
    DUPLICATE = "duplicate"
    PARAPHRASE = "paraphrase"


#: Well-known data sets by the family of their queries, in lower case, letters and digits only. Touché's queries are
#: questions of debate ("Should ...?"), which any passage that takes sides answers. Sets whose queries are of many
#: families (BEIR's Robust04, the forums' titles) aren't here: each query's form decides.
DATASETS: Mapping[Family, str] = {
    Family.QUESTION: """
        msmarco mmarco nq nqopen naturalquestions hotpotqa fiqa squad xquad xquadwindows triviaqa trivia eli5 treccovid
        bioasq webquestions webqsp curatedtrec popqa entityquestions searchqa newsqa paq gooaq amazonqa yahooanswers
        pubmedqa mrtydi miracl mldr dureader 2wikimultihopqa musique narrativeqa qasper wikiqa mkqa tydiqa lotte techqa
        trecdl dl19 dl20 touche webistouche
        """,
    Family.CLAIM: "fever feverous climatefever scifact scifactopen vitaminc hover healthver covidfact pubhealth",
    Family.ARGUMENT: "arguana",
    Family.TITLE: """
        scidocs scidocsrr nfcorpus dbpedia dbpediaentity trecnews signal1m s2orc specter agnews ccnews npr
        """,
    Family.DUPLICATE: """
        quora quoraduplicates quoraduplicatequestions quoraduplicatesquestions quoraquestionpairs qqp cqadupstack
        stackoverflowduplicatequestions stackoverflowdupquestions stackoverflowdup stackoverflowduplicates
        stackexchangeduplicates stackexchangeduplicatequestions askubuntu askubuntudupquestions
        sprintduplicatequestions wikianswers linkso
        """,
    Family.PARAPHRASE: """
        nli snli mnli multinli allnli nliforsimcse anli xnli ocnli cmnli rte sts stsb stsbenchmark
        stsbmultimt sts12 sts13 sts14 sts15 sts16 sts17 sts22 sick sickr kornli jsts paws pawsx mrpc paraphrases
        parabank paranmt tapaco opusparcus sentencecompression simplewiki altlex biosses lcqmc
        """,
}
