"""Schedules: the batches of an epoch, their shares, and going on from a state."""

from __future__ import annotations

import json
import pickle
from collections import Counter
from itertools import chain

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardforge.errors import UsageError
from shardforge.loader.order import Sequential, Shuffled
from shardforge.loader.schedule import GlobalBatch, Last, Schedule
from shardforge.loader.state import LoaderState

shard_lengths = st.lists(st.integers(0, 40), min_size=1, max_size=9).filter(any).map(np.array)


def shuffled(lengths: list[int] | np.ndarray, batch_size: int, last: Last = "wrap", **options: int) -> Schedule:
    order = Shuffled(np.array(lengths), seed=7, block_shards=2)
    return Schedule(order, seed=7, batch_size=batch_size, last=last, **options)


def epoch_of(schedule: Schedule, epoch: int = 0) -> list[list[int]]:
    return [schedule.batch(epoch, step).samples.tolist() for step in range(schedule.steps(epoch))]


def join(batches: list[list[int]]) -> list[int]:
    return list(chain.from_iterable(batches))


def shares_of(schedule: Schedule, batch: GlobalBatch, world: int) -> list[GlobalBatch]:
    return [schedule.share(batch, rank, world) for rank in range(world)]


@given(lengths=shard_lengths, batch_size=st.integers(1, 50), epoch=st.integers(0, 3))
def test_exact_epoch_shows_each_sample_once(lengths: np.ndarray, batch_size: int, epoch: int) -> None:
    batches = epoch_of(shuffled(lengths, batch_size, "exact"), epoch)
    assert sorted(join(batches)) == list(range(lengths.sum()))
    assert all(len(batch) == batch_size for batch in batches[:-1])


@given(lengths=shard_lengths, batch_size=st.integers(1, 50), epoch=st.integers(0, 3))
def test_wrapped_epoch_goes_on_from_its_own_start(lengths: np.ndarray, batch_size: int, epoch: int) -> None:
    batches = epoch_of(shuffled(lengths, batch_size), epoch)
    rows = join(batches)
    assert {len(batch) for batch in batches} == {batch_size}
    assert sorted(rows[: lengths.sum()]) == list(range(lengths.sum()))
    assert rows[lengths.sum() :] == np.resize(rows[: lengths.sum()], len(rows) - lengths.sum()).tolist()
    assert len(rows) - lengths.sum() < batch_size


def test_batches_stay_as_they_are() -> None:
    """Written down once: other samples or draws would break the resuming of every run that was begun before."""
    schedule = shuffled([4, 0, 3, 5], 5)
    assert epoch_of(schedule) == [[2, 1, 3, 0, 9], [7, 8, 10, 6, 4], [11, 5, 2, 1, 3]]
    assert schedule.batch(3, 1).samples.tolist() == [2, 0, 7, 11, 1]
    assert schedule.batch(3, 1).draws[:2].tolist() == [13317543811733781545, 16664843113944997963]
    repeated = shuffled([4, 0, 3, 5], 6, repeats=2, epoch_samples=8)
    assert epoch_of(repeated, 1) == [[9, 7, 8, 9, 7, 8], [10, 9, 7, 10, 9, 7]]
    assert repeated.describe() == {
        "seed": 7,
        "batch_size": 6,
        "last": "wrap",
        "repeats": 2,
        "epoch_samples": 4,
        "sampler": {"kind": "shuffled", "seed": 7, "block_shards": 2},
    }


def test_dropping_leaves_out_what_fills_no_batch() -> None:
    batches = epoch_of(shuffled([10, 10, 7], 10, "drop"))
    assert [len(batch) for batch in batches] == [10, 10]
    assert len(set(join(batches))) == 20


@given(
    lengths=shard_lengths,
    batch_size=st.integers(8, 60),
    last=st.sampled_from(["wrap", "exact"]),
    world=st.integers(1, 8),
)
def test_shares_of_the_ranks_are_the_batch(lengths: np.ndarray, batch_size: int, last: Last, world: int) -> None:
    schedule = shuffled(lengths, batch_size, last)
    for step in range(schedule.steps()):
        batch = schedule.batch(1, step)
        shares = shares_of(schedule, batch, world)
        valid = np.concatenate([share.valid for share in shares])
        assert np.concatenate([share.samples for share in shares])[valid].tolist() == batch.samples.tolist()
        assert np.concatenate([share.draws for share in shares])[valid].tolist() == batch.draws.tolist()
        sizes = [len(share.samples) for share in shares]
        assert min(sizes) >= 1
        assert max(sizes) - min(sizes) <= (0 if last == "exact" else 1)
        assert last == "exact" or valid.all()


def test_rank_without_samples_gets_masked_rows() -> None:
    schedule = shuffled([5], 8, "exact")
    shares = shares_of(schedule, schedule.batch(0, 0), 4)
    assert [share.valid.tolist() for share in shares] == [[True, True], [True, True], [True, False], [False, False]]


def test_training_batch_smaller_than_the_ranks_is_refused() -> None:
    schedule = shuffled([20], 3)
    with pytest.raises(UsageError, match="global batch of 3: 4 ranks"):
        schedule.share(schedule.batch(0, 0), 0, 4)


@given(epoch=st.integers(0, 5), steps=st.lists(st.integers(0, 41), min_size=1, max_size=6))
def test_batches_may_be_asked_for_in_any_order(epoch: int, steps: list[int]) -> None:
    whole, fresh = shuffled([300, 200, 170], 16), shuffled([300, 200, 170], 16)
    batches = epoch_of(whole, epoch)
    assert [fresh.batch(epoch, step).samples.tolist() for step in steps] == [batches[step] for step in steps]


def test_long_epoch_is_right_across_the_chunks_that_are_worked_out_together() -> None:
    schedule = shuffled([9_000] * 5, 70, "exact")
    batches = epoch_of(schedule)
    assert sorted(join(batches)) == list(range(45_000))
    draws = np.concatenate([schedule.batch(0, step).draws for step in range(schedule.steps())])
    assert len(set(draws.tolist())) == 45_000


def test_draws_depend_on_seed_epoch_and_position_alone() -> None:
    lengths = [40, 40]
    draws = shuffled(lengths, 8).batch(1, 3).draws.tolist()
    assert draws == Schedule(Sequential(80), seed=7, batch_size=8).batch(1, 3).draws.tolist()
    assert draws == shuffled(lengths, 24).batch(1, 1).draws[:8].tolist()
    assert not set(draws) & set(shuffled(lengths, 8).batch(2, 3).draws.tolist())


@given(lengths=shard_lengths, repeats=st.integers(2, 4), rows=st.integers(1, 9))
def test_repeats_show_each_sample_as_often_over_as_many_epochs(lengths: np.ndarray, repeats: int, rows: int) -> None:
    schedule = shuffled(lengths, repeats * rows, repeats=repeats)
    total = int(lengths.sum())
    assert schedule.steps() == -(-total // (repeats * rows))
    distinct = -(-total // repeats)
    shown: Counter[int] = Counter()
    for epoch in range(repeats):
        batches = np.array(epoch_of(schedule, epoch)).reshape(-1, repeats, rows)
        assert (batches == batches[:, :1]).all()  # each copy of the batch holds the same samples
        shown.update(batches[:, 0].reshape(-1)[:distinct].tolist())
    assert set(shown) == set(range(total))
    assert sum(shown.values()) - total < repeats


def test_copies_of_a_sample_are_on_different_ranks_with_different_draws() -> None:
    schedule = shuffled([64, 64], 24, repeats=3)
    batch = schedule.batch(0, 0)
    for world in (3, 4, 6):
        for share in shares_of(schedule, batch, world):
            assert len(set(share.samples.tolist())) == len(share.samples)
    assert len(set(batch.draws.tolist())) == 24


def test_shorter_epochs_go_on_where_the_last_one_stopped() -> None:
    schedule = shuffled([30, 30, 40], 10, epoch_samples=20)
    assert schedule.steps() == 2
    rows = [sample for epoch in range(5) for batch in epoch_of(schedule, epoch) for sample in batch]
    assert sorted(rows) == list(range(100))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "at least 1"),
        ({"batch_size": 10, "repeats": 3}, "multiple of the repeats"),
        ({"batch_size": 11, "last": "drop"}, "does not fill one batch"),
        ({"batch_size": 4, "last": "exact", "repeats": 2}, "exact epoch"),
        ({"batch_size": 4, "last": "exact", "epoch_samples": 5}, "exact epoch"),
        ({"batch_size": 4, "last": "pad"}, "choose wrap, drop, exact"),
        ({"batch_size": 4, "epoch_samples": 0}, "no samples"),
    ],
)
def test_impossible_schedules_are_refused(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Schedule(Sequential(10), seed=1, **options)


def test_empty_dataset_is_refused() -> None:
    with pytest.raises(UsageError, match="no samples to read"):
        shuffled([0], 0)


def test_step_beyond_the_epoch_is_an_error() -> None:
    with pytest.raises(IndexError, match="step 3 of an epoch of 3 steps"):
        shuffled([30], 10).batch(0, 3)


def test_schedule_crosses_to_another_process() -> None:
    schedule = shuffled([30, 40], 16)
    schedule.batch(0, 1)
    assert epoch_of(pickle.loads(pickle.dumps(schedule)), 2) == epoch_of(schedule, 2)


def state_at(schedule: Schedule, epoch: int, step: int) -> dict:
    state = LoaderState("f00d", schedule.describe(), epoch, step).to_dict()
    return json.loads(json.dumps(state))


def test_state_survives_json_and_fits_the_same_loader() -> None:
    schedule = shuffled([30, 40], 16)
    found = LoaderState.from_dict(state_at(schedule, 4, 2)).fit("f00d", schedule.describe())
    assert (found.epoch, found.step) == (4, 2)


@given(step=st.integers(0, 20), batch_size=st.sampled_from([2, 4, 8, 16]))
def test_run_with_another_batch_size_goes_on_with_the_same_samples(step: int, batch_size: int) -> None:
    old, new = shuffled([90, 90, 20], 8), shuffled([90, 90, 20], batch_size)
    state = LoaderState.from_dict(state_at(old, 1, step))
    if step * 8 % batch_size:
        with pytest.raises(UsageError, match="no whole number of batches of 16"):
            state.fit("f00d", new.describe(), rebatch=True)
        return
    found = state.fit("f00d", new.describe(), rebatch=True)
    rest = join(epoch_of(old, 1)[step:])
    assert join(epoch_of(new, 1)[found.step :])[: len(rest)] == rest


@pytest.mark.parametrize(
    ("fingerprint", "schedule", "message"),
    [
        ("beef", shuffled([30, 40], 16), "of other data"),
        ("f00d", shuffled([30, 40], 8), "batch_size was 16 and is now 8"),
        (
            "f00d",
            Schedule(Shuffled(np.array([30, 40]), seed=7), seed=7, batch_size=16),
            "block_shards was 2 and is now",
        ),
        ("f00d", Schedule(Sequential(70), seed=7, batch_size=16), "kind was shuffled and is now sequential"),
        ("f00d", shuffled([30, 40], 16, repeats=2), "repeats was 1 and is now 2"),
    ],
)
def test_state_of_another_run_is_refused(fingerprint: str, schedule: Schedule, message: str) -> None:
    state = LoaderState.from_dict(state_at(shuffled([30, 40], 16), 0, 1))
    with pytest.raises(UsageError, match=message):
        state.fit(fingerprint, schedule.describe())


@pytest.mark.parametrize("change", [{"step": -1}, {"epoch": "1"}, {"epoch": True}, {"rank": 0}, {"schedule": None}])
def test_state_of_before_is_looked_at(change: dict) -> None:
    state = state_at(shuffled([30, 40], 16), 0, 1) | {"version": 1}
    del state["checksum"]
    assert LoaderState.from_dict(state).step == 1
    with pytest.raises(UsageError, match="loader state"):
        LoaderState.from_dict({**state, **change})


@pytest.mark.parametrize(
    "change", [{"version": 1}, {"version": 3}, {"version": True}, {"step": 2}, {"schedule": None}, {"checksum": None}]
)
def test_damaged_state_is_refused(change: dict) -> None:
    with pytest.raises(UsageError, match="loader state"):
        LoaderState.from_dict({**state_at(shuffled([30, 40], 16), 0, 1), **change})


def test_any_flipped_bit_of_a_state_is_noticed() -> None:
    text = json.dumps(state_at(shuffled([30, 40], 16), 0, 1)).encode()
    for place in range(8 * len(text)):
        flipped = bytearray(text)
        flipped[place // 8] ^= 1 << place % 8
        with pytest.raises((UsageError, ValueError)):
            LoaderState.from_dict(json.loads(flipped))


@pytest.mark.parametrize("size", [None, 0, "16"])
def test_state_with_a_damaged_batch_size_is_refused(size: object) -> None:
    schedule = shuffled([30, 40], 16).describe()
    state = LoaderState("f00d", {**schedule, "batch_size": size}, 0, 1)
    with pytest.raises(UsageError, match="loader state: its batch size is"):
        state.fit("f00d", schedule, rebatch=True)
