"""Hard negatives from queries, a corpus and qrels.

`rules` is pure: which candidates of a query may be negatives, and why the others may not. `mining` brings in the
retrievers and the corpus, `job` the files.
"""
