"""Splits: which records are for training, which for validation and test, as a function of seed and data alone."""
