"""Which functions of the package each test runs, also in the processes that it starts: a pytest plugin.

Functions that run while a fixture of many tests is made belong to the fixture, and so to all tests that use it.
"""

from __future__ import annotations

import json
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple

import hypothesis
import pytest
from mutation.sites import Mutant
from mutation.trace import FOLDER, trace

#: What it costs to load a file of tests and to make what all its tests use.
FILE_SECONDS = 3.0


class Reach(NamedTuple):
    """Tests by function ("FILE::QUALNAME"), the CPU seconds of each test, and how many functions it runs."""

    functions: dict[str, list[str]]
    seconds: dict[str, float]
    breadth: dict[str, int]

    def choose(self, mutant: Mutant, seconds: float, but: Set[str] = frozenset()) -> tuple[list[list[str]], int]:
        """Return tests of the mutated function that take so many seconds, by file, and how many there are in all.

        Those come first that run little else: they fail where others only pass by.
        """
        names = self.functions.get(f"{mutant.path}::{mutant.function}") if mutant.function else None
        if names is None:
            inside = [tests for key, tests in self.functions.items() if key.startswith(f"{mutant.path}::")]
            names = list({test for tests in inside for test in tests})
        files: dict[str, list[str]] = defaultdict(list)
        for test in sorted(set(names) - but, key=lambda name: (self.seconds[name], name)):
            files[test.partition("::")[0]].append(test)
        chosen: list[list[str]] = []
        for tests in sorted(files.values(), key=lambda tests: sum(self.breadth[test] for test in tests) / len(tests)):
            if chosen and self.cost([tests[:1]]) > seconds:
                break
            chosen.append([])
            seconds -= FILE_SECONDS
            for test in tests:
                seconds -= self.seconds[test]
                if seconds >= 0 or not chosen[-1]:
                    chosen[-1].append(test)
        return chosen, len(names)

    def cost(self, files: list[list[str]]) -> float:
        """Return about how many CPU seconds tests take, by file: with what is made once for a file."""
        return sum(FILE_SECONDS + sum(self.seconds.get(test, FILE_SECONDS) for test in tests) for tests in files)


class _Plugin:
    def __init__(self) -> None:
        self.tracer = trace()
        self.tests: dict[str, dict[str, Any]] = {}

    def _run(self, name: str) -> None:
        (self.tracer.folder / "running").write_text(name)
        self.tracer.begin(name)
        sys.settrace(self.tracer)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        self._run(item.nodeid)
        before = sum(os.times()[:4])
        fixtures = [_name(one) for found in item._fixtureinfo.name2fixturedefs.values() for one in found]  # type: ignore[attr-defined]
        self.tests[item.nodeid] = {"fixtures": fixtures, "passed": True}
        result = yield
        self.tests[item.nodeid]["seconds"] = sum(os.times()[:4]) - before
        return result

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: pytest.FixtureDef[Any]) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        around = self.tracer.test
        self._run(_name(fixturedef))
        try:
            return (yield)
        finally:
            self._run(around)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.outcome != "passed":
            self.tests[report.nodeid]["passed"] = False

    def pytest_sessionfinish(self) -> None:
        sys.settrace(None)
        (self.tracer.folder / "tests.json").write_text(json.dumps(self.tests))


def _name(fixture: pytest.FixtureDef[Any]) -> str:
    return f"fixture {fixture.baseid} {fixture.argname}"


def pytest_configure(config: pytest.Config) -> None:
    """Begin, where a run asks for it."""
    if FOLDER in os.environ:
        hypothesis.settings.register_profile("traced", deadline=None)
        hypothesis.settings.load_profile("traced")
        config.pluginmanager.register(_Plugin())


def merge_reach(folder: Path, new: Path) -> None:
    """Put what a traced run left in `new` into `folder`, in the place of what is known of the same files of tests."""
    folder.mkdir(parents=True, exist_ok=True)
    tests, lines = _read(new)
    files = {test.partition("::")[0] for test in tests}
    known, older = _read(folder) if (folder / "tests.json").exists() else ({}, [])
    kept = {test: about for test, about in known.items() if test.partition("::")[0] not in files}
    # What fixtures reach stays: several files of tests may use one.
    lines = [line for line in older if line.split("\t")[0] in kept or line.startswith("fixture ")] + lines
    (folder / "reach.tsv").write_text("\n".join(dict.fromkeys(lines)) + "\n")
    (folder / "tests.json").write_text(json.dumps({**kept, **tests}))


def _read(folder: Path) -> tuple[dict[str, dict[str, Any]], list[str]]:
    return json.loads((folder / "tests.json").read_text()), (folder / "reach.tsv").read_text().splitlines()


def read_reach(folder: Path) -> Reach:
    """Return what a traced run of the tests left in `folder`; tests that failed are left out."""
    tests, lines = _read(folder)
    users = defaultdict(list)
    for test, about in tests.items():
        for fixture in about["fixtures"]:
            users[fixture].append(test)
    found: dict[str, set[str]] = defaultdict(set)
    for name, path, function in (line.split("\t") for line in lines):
        found[f"{path}::{function}"].update(users[name] if name.startswith("fixture ") else [name])
    passed = {test: about["seconds"] for test, about in tests.items() if about["passed"]}
    functions = {key: sorted(names & passed.keys()) for key, names in found.items()}
    return Reach(functions, passed, Counter(test for tests in functions.values() for test in tests))
