"""Files of rows and bytes: atomic writing, compression, JSON lines, Parquet, data sets, remote addresses, locks."""
