"""Numbers: each bench prints one table and writes JSON, beside a baseline of the same run."""
