"""Read datasets for training: exact, elastic, resumable epochs over plain tar shards."""
