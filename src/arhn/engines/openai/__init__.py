"""What the `openai` engine is made of: wire, servers, adaptive concurrency, probes, answers."""
