"""Methods of masked image modelling, each in one file, by the names of the recipes."""

from __future__ import annotations

from shardforge.train.methods.base import Method, MIMOutput
from shardforge.train.methods.create import METHODS, MethodSpec, create_method, resolve_method

__all__ = ["METHODS", "MIMOutput", "Method", "MethodSpec", "create_method", "resolve_method"]
