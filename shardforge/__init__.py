"""From image folders to verified WebDataset shards, reproducible to the byte."""

__version__ = "0.2.0.dev0"
