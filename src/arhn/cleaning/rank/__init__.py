"""Stage 2, ranking: candidates in the order of how directly they answer the query."""
