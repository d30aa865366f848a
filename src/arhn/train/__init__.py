"""Training retrievers and rerankers on groups: recipes, losses, runs that resume."""
