"""Verify reads a dataset and lists what is wrong with it; repair writes the bad shards again, to the same bytes."""
