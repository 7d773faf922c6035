"""One suite for both executors: whatever runs the tasks, the results and the failures are the same."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from shardforge.errors import ImageError, TaskError, UsageError
from shardforge.executors import Executor, open_executor
from shardforge.executors.items import begin_item
from shardforge.executors.local import LocalExecutor

WORKERS = 2
PROCESSES = [pytest.param("local", id="local"), pytest.param("ray", id="ray", marks=pytest.mark.ray)]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """Start Ray once, with workers that can import this file; every `RayExecutor` of the session uses it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(sys.path))
        with open_executor("ray", WORKERS):
            yield


@pytest.fixture(params=PROCESSES)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Yield each kind of executor with two workers."""
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    with open_executor(request.param, WORKERS) as opened:
        yield opened


@pytest.fixture(params=["here", *PROCESSES])
def any_executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Yield each kind of executor, and the one that runs tasks in this process."""
    if request.param == "ray":
        request.getfixturevalue("ray_cluster")
    kind, workers = ("local", 0) if request.param == "here" else (request.param, WORKERS)
    with open_executor(kind, workers) as opened:
        yield opened


def square(number: int) -> int:
    return number * number


def sleep(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def wait_for_file(path: Path) -> str:
    while not path.exists():
        time.sleep(0.01)
    return path.name


def fail_on_three(number: int) -> int:
    if number == 3:
        raise ValueError("three is bad")
    return number


def fail_until_third_try(log: Path) -> int:
    with log.open("a") as file:
        file.write("x")
    tries = log.stat().st_size
    if tries < 3:
        raise OSError(f"try {tries}")
    return tries


def reject_image(key: str) -> None:
    raise ImageError(f"{key}: cut short", reason="truncated")


def die(task: tuple[str, Path | None]) -> str:
    """Kill the worker; with a path, only when nobody has done so before."""
    name, died = task
    if name == "poison" and not (died and died.exists()):
        if died:
            died.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return name


def return_lock(_: int) -> Any:
    return threading.Lock()


class TwoArgumentError(Exception):
    """Survives pickling, not unpickling, as many exceptions do."""

    def __init__(self, shard: str, reason: str) -> None:
        super().__init__(f"{shard}: {reason}")


def raise_two_argument_error(_: int) -> None:
    raise TwoArgumentError("shard", "torn")


def report_pid_and_wait(path: Path) -> None:
    path.write_text(str(os.getpid()))
    time.sleep(600)


def run_all(executor: Executor, function: Callable[[Any], Any], tasks: list[Any]) -> dict[Any, Any]:
    """Return task -> value, or the error's text."""
    return {r.task: r.value if r.error is None else str(r.error) for r in executor.run(function, tasks)}


def test_every_task_has_its_result(any_executor: Executor) -> None:
    assert run_all(any_executor, square, list(range(50))) == {n: n * n for n in range(50)}


def test_an_executor_runs_one_job_after_another(any_executor: Executor) -> None:
    assert run_all(any_executor, square, []) == {}
    assert run_all(any_executor, square, [2]) == {2: 4}
    assert run_all(any_executor, sleep, [0.0]) == {0.0: 0.0}


def test_results_come_in_the_order_in_which_they_finish(executor: Executor, tmp_path: Path) -> None:
    (tmp_path / "open").touch()
    results = executor.run(wait_for_file, [tmp_path / "shut", tmp_path / "open"])
    assert next(results).unwrap() == "open"
    (tmp_path / "shut").touch()
    assert next(results).unwrap() == "shut"


def test_tasks_are_drawn_only_as_workers_need_them(any_executor: Executor) -> None:
    drawn = 0

    def tasks() -> Iterator[int]:
        nonlocal drawn
        for number in range(1_000):
            drawn += 1
            yield number

    for finished, result in enumerate(any_executor.run(square, tasks())):
        assert result.error is None
        assert drawn - finished <= 2 * WORKERS + 1
    assert drawn == 1_000


def test_an_error_surfaces_and_the_other_tasks_finish(any_executor: Executor) -> None:
    results = run_all(any_executor, fail_on_three, list(range(6)))
    assert results.pop(3) == "task 3 failed 3 times; the last time: ValueError: three is bad"
    assert results == {n: n for n in (0, 1, 2, 4, 5)}


def test_a_task_error_names_its_task_and_keeps_the_trace(any_executor: Executor) -> None:
    (result,) = any_executor.run(fail_on_three, [3], retries=0)
    assert isinstance(result.error, TaskError)
    assert result.error.task == "3"
    assert "in fail_on_three" in result.error.__notes__[0]
    with pytest.raises(TaskError, match="task 3 failed once"):
        result.unwrap()


def test_a_passing_failure_is_tried_again(any_executor: Executor, tmp_path: Path) -> None:
    (result,) = any_executor.run(fail_until_third_try, [tmp_path / "log"])
    assert result.unwrap() == 3


def test_an_error_of_ours_is_final_and_keeps_its_reason(any_executor: Executor) -> None:
    (result,) = any_executor.run(reject_image, ["photos-1"])
    assert isinstance(result.error, ImageError)
    assert str(result.error) == "photos-1: cut short"
    assert result.error.reason == "truncated"


def test_an_exception_that_cannot_be_unpickled_is_told_in_words(executor: Executor) -> None:
    (result,) = executor.run(raise_two_argument_error, [1], retries=0)
    assert "TwoArgumentError: shard: torn" in str(result.error)


def test_what_cannot_be_pickled_is_an_error(executor: Executor) -> None:
    results = run_all(executor, return_lock, [1, 2])
    assert all("came to a lock, which cannot be pickled" in text for text in results.values()), results
    tasks: list[Any] = [threading.Lock(), 2]
    unsent, sent = sorted(executor.run(square, tasks), key=lambda result: result.value or 0)
    assert "cannot be pickled" in str(unsent.error)
    assert sent.value == 4


def test_a_killed_worker_costs_one_try_of_its_own_task(executor: Executor, tmp_path: Path) -> None:
    tasks = [("poison", tmp_path / "died"), *((str(n), None) for n in range(10))]
    results = {r.task[0]: r.unwrap() for r in executor.run(die, tasks, retries=1)}
    assert (tmp_path / "died").exists()
    assert results == {name: name for name, _ in tasks}


def test_a_task_that_always_kills_its_worker_fails_alone(executor: Executor) -> None:
    tasks: list[tuple[str, Path | None]] = [("poison", None), *((str(n), None) for n in range(10))]
    results = {r.task[0]: r for r in executor.run(die, tasks, retries=1)}
    error = results.pop("poison").error
    assert isinstance(error, TaskError)
    assert "failed 2 times; the last time: its worker was" in str(error)
    assert [results[str(n)].unwrap() for n in range(10)] == [str(n) for n in range(10)]


def test_a_killed_worker_is_told_with_its_signal() -> None:
    with open_executor("local", 1) as executor:
        (result,) = executor.run(die, [("poison", None)], retries=0)
    assert "its worker was killed by signal 9 (SIGKILL" in str(result.error)


@dataclass(frozen=True)
class Batch:
    """Names to be gone through, some of which kill whoever does so."""

    names: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.names)

    def part(self, first: int, end: int) -> Batch:
        return Batch(self.names[first:end])


def go_through(batch: Batch) -> list[str]:
    for number, name in enumerate(batch.names):
        begin_item(number)
        if name in KILLERS:
            KILLERS[name]()
    return list(batch.names)


KILLERS: dict[str, Callable[[], object]] = {
    "SIGSEGV": lambda: ctypes.string_at(0),
    "SIGKILL": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "SIGABRT": os.abort,
    "status 7": lambda: os._exit(7),
    "SIGALRM": lambda: ctypes.PyDLL(None).sleep(600),  # never lets another thread run Python
}


@pytest.mark.parametrize("killer", KILLERS)
def test_of_many_items_the_one_that_kills_its_worker_is_found(killer: str) -> None:
    names = [f"{n}" for n in range(100)]
    names[0] = names[41] = names[99] = killer
    with LocalExecutor(2, item_seconds=0.5) as executor:
        results = list(executor.run(go_through, [Batch(tuple(names)), Batch(("alone",))], retries=0))
    lost = [result for result in results if result.lost]
    assert [result.task.names for result in lost] == [(killer,)] * 3
    assert all(result.lost and killer in result.lost.why for result in lost)
    whole = sorted(name for result in results if not result.lost for name in result.unwrap())
    assert whole == sorted({*names, "alone"} - {killer})


@pytest.mark.ray
def test_on_ray_the_item_is_found_by_halves(ray_cluster: None) -> None:
    names = (*map(str, range(9)), "SIGKILL")
    with open_executor("ray", WORKERS) as executor:
        results = list(executor.run(go_through, [Batch(names)], retries=0))
    assert [result.task.names for result in results if result.lost] == [("SIGKILL",)]
    assert sorted(name for result in results if not result.lost for name in result.unwrap()) == sorted(names[:-1])


def test_time_between_items_and_after_a_task_is_nobodys() -> None:
    with LocalExecutor(1, item_seconds=0.3) as executor:
        assert [result.unwrap() for result in executor.run(go_through, [Batch(("one",))])] == [["one"]]
        time.sleep(0.6)
        assert [result.unwrap() for result in executor.run(sleep, [0.6])] == [0.6]


def test_memory_beyond_a_workers_share_is_refused() -> None:
    with LocalExecutor(1, memory=1 << 30) as executor:
        (result,) = executor.run(allocate, [2 << 30], retries=0)
        assert "MemoryError" in str(result.error)
        assert [result.unwrap() for result in executor.run(allocate, [1 << 20])] == [1 << 20]


def fail_at(batch: Batch) -> list[str]:
    if "bad" in batch.names:
        raise ArithmeticError("bad is not good")
    return list(batch.names)


def test_of_many_items_the_one_that_nobody_foresaw_is_found(any_executor: Executor) -> None:
    results = list(any_executor.run(fail_at, [Batch(("a", "b", "bad", "c"))], retries=0))
    assert [(result.task.names, result.failed.why) for result in results if result.failed] == [
        (("bad",), "ArithmeticError: bad is not good")
    ]
    assert sorted(name for result in results if not result.failed for name in result.unwrap()) == ["a", "b", "c"]


def lack_package(batch: Batch) -> None:
    raise ModuleNotFoundError("No module named 'turbo'")


def test_what_is_no_items_fault_is_charged_to_none(any_executor: Executor) -> None:
    (result,) = any_executor.run(lack_package, [Batch(("a", "b"))])
    assert result.failed is None
    assert "a worker cannot import what it needs (No module named 'turbo')" in str(result.error)


def test_workers_that_cannot_begin_are_no_items_fault() -> None:
    with LocalExecutor(1, preload=["shardforge.no_such_module"]) as executor:
        (result,) = executor.run(go_through, [Batch(("a", "b"))])
    assert (result.failed, result.lost) == (None, None)
    assert "exited with status 1" in str(result.error)


def allocate(size: int) -> int:
    return len(bytearray(size))


def test_leaving_early_stops_the_tasks_and_the_next_run_is_whole(executor: Executor) -> None:
    for result in executor.run(sleep, [0.0, *[600.0] * 5]):
        assert result.value == 0.0
        break
    assert run_all(executor, square, [1, 2, 3]) == {1: 1, 2: 4, 3: 9}


def test_the_end_of_a_run_and_of_the_block_leave_no_process_too_many() -> None:
    with open_executor("local", WORKERS) as executor:
        next(executor.run(sleep, [0.0, *[600.0] * 5]))
        assert run_all(executor, square, [1, 2, 3]) == {1: 1, 2: 4, 3: 9}
        assert len(multiprocessing.active_children()) == WORKERS
    assert multiprocessing.active_children() == []


def test_an_error_in_the_block_leaves_no_process() -> None:
    def interrupt() -> None:
        with open_executor("local", WORKERS) as executor:
            for _ in executor.run(sleep, [0.0, *[600.0] * 5]):
                assert len(multiprocessing.active_children()) == WORKERS
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupt()
    assert multiprocessing.active_children() == []


def test_workers_do_not_hear_ctrl_c() -> None:
    with open_executor("local", 1) as executor:
        assert run_all(executor, square, [2]) == {2: 4}
        (worker,) = multiprocessing.active_children()
        assert worker.pid is not None
        os.kill(worker.pid, signal.SIGINT)
        assert run_all(executor, square, [3]) == {3: 9}
        assert multiprocessing.active_children() == [worker]


def test_a_killed_driver_leaves_no_worker(tmp_path: Path) -> None:
    path = tmp_path / "pid"
    script = tmp_path / "driver.py"
    script.write_text(
        "import sys; from pathlib import Path; from shardforge.executors import open_executor\n"
        "from test_executors import report_pid_and_wait\n"
        "if __name__ == '__main__':\n"
        "    with open_executor('local', 1) as executor:\n"
        "        list(executor.run(report_pid_and_wait, [Path(sys.argv[1])]))\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, script, path], env=environment) as driver:
        wait_until(lambda: path.exists() and path.read_text() != "")
        driver.kill()
    worker = int(path.read_text())
    wait_until(lambda: not is_running(worker))


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition: Callable[[], bool], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_workers_import_the_preloaded_modules() -> None:
    with open_executor("local", 1, preload=("colorsys",)) as executor:
        assert run_all(executor, is_imported, ["colorsys", "turtle"]) == {"colorsys": True, "turtle": False}


def is_imported(module: str) -> bool:
    return module in sys.modules


def test_unknown_executor_is_a_usage_error() -> None:
    with pytest.raises(UsageError, match="--ray-address auto: goes with --executor ray"):
        open_executor("local", 2, address="auto")
    with pytest.raises(UsageError, match="choose local or ray"):
        open_executor("spark", 2)


def test_missing_ray_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "shardforge.executors.ray", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UsageError, match=r'pip install "shardforge\[ray\]"'):
        open_executor("ray", 2)


@pytest.mark.ray
@pytest.mark.parametrize("address", ["127.0.0.1:PORT", "nonsense"])
def test_an_address_without_a_cluster_is_a_usage_error(address: str) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.replace("PORT", str(free.getsockname()[1]))
        script = f"from shardforge.executors import open_executor as o\nwith o('ray', 1, address='{address}'): pass"
        ended = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert f"UsageError: --ray-address {address}: no Ray cluster answers there" in ended.stderr
