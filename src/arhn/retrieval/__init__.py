"""Collections (queries, corpus and qrels), retrievers over them, and runs.

Qrels are relevance judgements: a grade for a query and a passage. A run is a ranking: for each query, the passages a
retriever found with their scores. All of it works for corpora that don't fit into memory: passages stay on disk, and a
search holds one piece of the corpus and the best hits for one batch of queries.

This file imports nothing, because `embedder` is light and the other modules need NumPy, which only the extras install.
"""
