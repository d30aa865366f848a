"""Collections (queries, corpus, qrels), retrievers over them, and runs.

Everything here is written for corpora that don't fit into memory: passages stay on disk, and a search holds a
piece of the corpus and the best hits of a batch of queries.

Nothing is imported here, for `embedder` is light and the rest needs NumPy, which the extras bring.
"""
