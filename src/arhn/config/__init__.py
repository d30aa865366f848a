"""Settings of the commands: one tree of classes, read from a config file, `--set` and flags (docs/settings.md)."""
