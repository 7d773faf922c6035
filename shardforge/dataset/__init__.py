"""A dataset on disk: its plan, shards, index and manifest; writing and resuming."""
