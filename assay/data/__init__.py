"""Data: sources, ingestion, splitting, shards."""
