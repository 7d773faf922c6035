"""From image folders to verified WebDataset shards, reproducible to the byte."""

__version__ = "0.1.0"
