"""Hard negatives from queries, a corpus and qrels.

A candidate is a passage that a retriever found for a query. `rules` is pure: it decides which candidates become the
query's negatives, and why the others don't. `mining` adds the retrievers and the corpus, `job` the files, `view` the
tables that a person sees.
"""
