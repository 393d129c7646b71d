"""On-disk formats: each file holds one format, its writer and its reader together."""
