"""Orders and samplers: pure functions of seed, pass and position."""

from __future__ import annotations

import json
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shardforge.errors import UsageError
from shardforge.loader.mixing import Mixture, Source
from shardforge.loader.order import Chosen, Sampler, Sequential, Shuffled, count_kept
from shardforge.loader.randomness import derive_key, hash_counters, hash_fractions, permute
from shardforge.loader.sampling import ClassSampler, WeightedSampler

shard_lengths = st.lists(st.integers(0, 40), min_size=1, max_size=12).filter(any).map(np.array)
seeds = st.integers(0, 2**63)


def take_pass(sampler: Sampler, number: int = 0) -> list[int]:
    return sampler.take(number * sampler.samples, (number + 1) * sampler.samples).tolist()


def test_hashes_are_those_of_splitmix64() -> None:
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423, 4593380528125082431]
    assert hash_counters(1234567, np.arange(4)).tolist() == published


def test_keys_depend_on_every_part_and_not_on_its_type() -> None:
    keys = [derive_key(1, 2), derive_key(2, 1), derive_key(1, 2, 0), derive_key(1), derive_key(-1, 2)]
    assert len(set(keys)) == len(keys)
    assert derive_key(np.int64(-1), np.int32(2)) == keys[-1]


@given(size=st.integers(1, 3000), key=seeds)
def test_permute_moves_each_position_to_another(size: int, key: int) -> None:
    assert sorted(permute(np.arange(size), size, key)) == list(range(size))


def test_permute_reaches_every_permutation_alike() -> None:
    found = Counter(tuple(permute(np.arange(4), 4, derive_key(key))) for key in range(4800))
    assert len(found) == 24
    assert max(abs(count - 200) for count in found.values()) < 75  # five standard deviations


def test_fractions_are_spread_over_the_unit_interval() -> None:
    fractions = hash_fractions(derive_key(3), np.arange(100_000))
    counts = np.histogram(fractions, bins=10, range=(0, 1))[0]
    assert counts.sum() == 100_000
    assert abs(counts - 10_000).max() < 500


@given(lengths=shard_lengths, seed=seeds, block_shards=st.integers(1, 14), number=st.integers(0, 3))
def test_shuffled_pass_holds_each_sample_once(lengths: np.ndarray, seed: int, block_shards: int, number: int) -> None:
    order = Shuffled(lengths, seed=seed, block_shards=block_shards)
    assert sorted(take_pass(order, number)) == list(range(lengths.sum()))


@given(lengths=shard_lengths, start=st.integers(0, 100), size=st.integers(0, 100))
def test_stretch_is_a_part_of_the_whole(lengths: np.ndarray, start: int, size: int) -> None:
    passes = range(1 + 200 // lengths.sum())
    whole = np.concatenate([take_pass(Shuffled(lengths, seed=5, block_shards=3), number) for number in passes])
    order = Shuffled(lengths, seed=5, block_shards=3)
    assert order.take(start, start + size).tolist() == whole[start:][:size].tolist()


def test_passes_and_seeds_differ() -> None:
    lengths = np.full(8, 50)
    passes = [take_pass(Shuffled(lengths, seed=seed), number) for seed in (1, 2) for number in (0, 1)]
    for first in range(4):
        for second in range(first):
            equal = np.mean(np.array(passes[first]) == np.array(passes[second]))
            assert equal < 0.03


def test_block_holds_the_samples_of_its_shards_only() -> None:
    order = Shuffled(np.full(12, 100), seed=3, block_shards=4)
    blocks = np.array(take_pass(order)).reshape(3, 400) // 100
    assert [len(set(block)) for block in blocks] == [4, 4, 4]
    # Shuffled within the block: a shard's samples do not stay together.
    assert (np.diff(blocks[0]) == 0).mean() < 0.35


def test_growing_by_shards_keeps_the_order_of_the_old_ones() -> None:
    old = np.array(take_pass(Shuffled(np.full(20, 5), seed=9, block_shards=1))) // 5
    new = np.array(take_pass(Shuffled(np.full(26, 5), seed=9, block_shards=1))) // 5
    assert list(dict.fromkeys(new[new < 20])) == list(dict.fromkeys(old))


LENGTHS = np.array([4, 0, 3, 5])
LABELS = np.array([2, 0, -1, 2, 0, 2, 2, 3], np.int32)
KEPT = np.array([0, 2, 3, 5, 6, 11])
SOURCES = [Source(Sequential(3), 3, 1.0), Source(Shuffled(LENGTHS, seed=3), 12, 2.0)]
UNWEIGHTED = [source._replace(weight=None) for source in SOURCES]

#: Written down once, two passes or what comes to it, and what tells a resumed run that the order is another one: other
#: numbers would break every run that was begun before.
ORDERS: dict[str, tuple[Sampler, list[int], dict[str, object]]] = {
    "sequential": (Sequential(5), [0, 1, 2, 3, 4, 0, 1, 2, 3, 4], {"kind": "sequential", "samples": 5}),
    "shuffled in blocks": (
        Shuffled(LENGTHS, seed=17, block_shards=2),
        [10, 5, 6, 9, 7, 11, 4, 8, 3, 2, 0, 1, 10, 9, 2, 7, 0, 1, 8, 11, 3, 6, 5, 4],
        {"kind": "shuffled", "seed": 17, "block_shards": 2},
    ),
    "shuffled": (
        Shuffled(LENGTHS, seed=17),
        [8, 9, 3, 2, 10, 11, 1, 5, 4, 7, 0, 6, 10, 9, 2, 6, 0, 1, 8, 4, 3, 11, 5, 7],
        {"kind": "shuffled", "seed": 17, "block_shards": 16},
    ),
    "chosen": (
        Chosen(Shuffled(count_kept(LENGTHS, KEPT), seed=17, block_shards=1), KEPT),
        [11, 6, 5, 2, 3, 0, 2, 3, 0, 11, 6, 5],
        {"kind": "shuffled", "seed": 17, "block_shards": 1, "kept": "9e109490eb3c02ee"},
    ),
    "classes": (
        ClassSampler(LABELS, seed=17),
        [6, 0, 7, 7, 3, 1, 4, 1, 7, 7, 5, 4, 3, 5],
        {
            "kind": "classes",
            "seed": 17,
            "samples": 7,
            "members": "18de94fe98f1bd32",
            "shares": "6293b9451e9338e4",
        },
    ),
    "weighted classes": (
        ClassSampler(LABELS, seed=17, weights=np.array([1.0, 0, 2, 1]), samples=8),
        [7, 0, 5, 7, 3, 1, 4, 6, 7, 7, 0, 6, 4, 5, 3, 1],
        {
            "kind": "classes",
            "seed": 17,
            "samples": 8,
            "members": "18de94fe98f1bd32",
            "shares": "642c632e87649147",
        },
    ),
    "weighted": (
        WeightedSampler(np.array([0.5, 0, 3, 1.5]), seed=17, samples=8),
        [3, 2, 2, 3, 2, 2, 0, 2, 3, 3, 3, 2, 0, 2, 2, 2],
        {"kind": "weighted", "seed": 17, "samples": 8, "weights": "460c65fb6c72e3e0"},
    ),
    "mixture": (
        Mixture(UNWEIGHTED, seed=17),
        [9, 13, 7, 11, 0, 8, 12, 1, 10, 14, 4, 2, 3, 6, 5, 13, 0, 5, 14, 4, 7, 1, 9, 12],
        {
            "kind": "mixture",
            "seed": 17,
            "draws": [3, 12],
            "sources": [source.sampler.describe() for source in SOURCES],
        },
    ),
    "weighted mixture": (
        Mixture(SOURCES, seed=17, samples=9),
        [9, 13, 0, 7, 1, 11, 2, 8, 12, 0, 10, 14, 1, 4, 3, 6, 2, 5],
        {
            "kind": "mixture",
            "seed": 17,
            "draws": [3, 6],
            "sources": [source.sampler.describe() for source in SOURCES],
        },
    ),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders_stay_as_they_are(name: str) -> None:
    sampler, order, description = ORDERS[name]
    assert sampler.take(0, len(order)).tolist() == order
    assert json.loads(json.dumps(sampler.describe())) == description


@pytest.mark.parametrize("block_shards", [0, -1])
def test_a_block_of_no_shard_is_refused(block_shards: int) -> None:
    with pytest.raises(UsageError, match=f"block_shards {block_shards}: at least one shard makes a block"):
        Shuffled(LENGTHS, seed=1, block_shards=block_shards)


def test_hashes_and_permutations_stay_as_they_are() -> None:
    assert [derive_key(17), derive_key(17, 3, 1)] == [9260656408219841379, 3870421023614458123]
    assert permute(np.arange(10), 10, derive_key(17)).tolist() == [7, 4, 2, 0, 6, 9, 1, 5, 8, 3]
    assert hash_fractions(derive_key(17), np.arange(2)).tolist() == [0.36500879416233944, 0.4712625391649924]


@given(lengths=shard_lengths, data=st.data())
def test_chosen_pass_holds_what_was_kept(lengths: np.ndarray, data: st.DataObject) -> None:
    size = int(lengths.sum())
    kept = np.array(sorted(data.draw(st.sets(st.integers(0, size - 1), min_size=1))))
    counts = count_kept(lengths, kept)
    assert counts.sum() == len(kept)
    assert sorted(take_pass(Chosen(Shuffled(counts, seed=1), kept), 2)) == kept.tolist()


@given(
    labels=st.lists(st.integers(-1, 6), min_size=1, max_size=120).filter(lambda labels: max(labels) >= 0), seed=seeds
)
def test_classes_are_drawn_alike_and_go_through_their_samples(labels: list[int], seed: int) -> None:
    label_of = np.array(labels, np.int32)
    sampler = ClassSampler(label_of, seed=seed)
    draws = np.concatenate([take_pass(sampler, number) for number in range(3)])
    present = np.unique(label_of[label_of >= 0])
    shares = [np.mean(label_of[draws] == label) for label in present]
    assert max(abs(share - 1 / len(present)) for share in shares) <= 1 / sampler.samples
    for label in present:
        count = Counter(draws[label_of[draws] == label].tolist())
        assert max(count.values()) - min(count.get(sample, 0) for sample in np.flatnonzero(label_of == label)) <= 1


def test_class_weights_are_met_to_one_draw() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int32), [500, 50, 5])
    sampler = ClassSampler(labels, seed=2, weights=np.array([1.0, 2.0, 1.0]), samples=1000)
    assert np.bincount(labels[take_pass(sampler, 4)]).tolist() == [250, 500, 250]


@pytest.mark.parametrize(
    "weights",
    [[1.0, 1.0], [1.0, 1.0, 1.0], [1.0, 0.0, np.nan], [0.0, 0.0, 0.0], [1.0, 0.0, -1.0], [1e308, 0.0, 1e308]],
)
def test_class_weights_that_cannot_be_met_are_refused(weights: list[float]) -> None:
    labels = np.array([0, 2, 2, 2], np.int32)
    with pytest.raises(UsageError, match="sampling weights") as caught:
        ClassSampler(labels, seed=1, weights=np.array(weights))
    assert str(caught.value).endswith("class 1 has no sample") == (weights == [1.0, 1.0, 1.0])


def test_class_sampler_without_labels_is_refused() -> None:
    with pytest.raises(UsageError, match="no sample has a label"):
        ClassSampler(np.full(5, -1, np.int32), seed=1)


@given(weights=st.lists(st.integers(0, 9), min_size=1, max_size=60).filter(any), seed=seeds)
def test_weighted_draws_are_within_two_of_their_share(weights: list[int], seed: int) -> None:
    sampler = WeightedSampler(np.array(weights, float), seed=seed, samples=500)
    counts = np.bincount(take_pass(sampler, 1), minlength=len(weights))
    expected = 500 * np.array(weights) / sum(weights)
    assert counts.sum() == 500
    assert (abs(counts - expected) <= 2).all()
    assert not counts[np.array(weights) == 0].any()


def test_weights_count_in_proportion_alone() -> None:
    small, large = (WeightedSampler(np.array([1.0, 3.0]) * size, seed=4, samples=8) for size in (2.0**-9, 2.0**60))
    assert take_pass(small) == take_pass(large)
    assert sorted(take_pass(small)) == [0, 0, 1, 1, 1, 1, 1, 1]


def test_weighted_draws_are_as_expected_in_the_mean() -> None:
    weights = np.array([0.3, 0.01, 5.0, 0.0, 1.0])
    sampler = WeightedSampler(weights, seed=4, samples=50)
    counts = np.bincount(sampler.take(0, 60_000), minlength=5) / 60_000
    assert counts == pytest.approx(weights / weights.sum(), abs=0.01)


def mixture(seed: int, sizes: list[int], weights: list[float | None], samples: int | None = None) -> Mixture:
    orders = [
        Shuffled(np.array([size // 2, size - size // 2]), seed=derive_key(seed, n)) for n, size in enumerate(sizes)
    ]
    return Mixture([Source(*parts) for parts in zip(orders, sizes, weights, strict=True)], seed=seed, samples=samples)


@given(sizes=st.lists(st.integers(1, 90), min_size=1, max_size=4), seed=seeds)
def test_mixture_without_weights_is_each_sample_once(sizes: list[int], seed: int) -> None:
    mixed = mixture(seed, sizes, [None] * len(sizes))
    assert sorted(take_pass(mixed, 2)) == list(range(sum(sizes)))


@given(start=st.integers(0, 900), size=st.integers(0, 400))
def test_mixture_may_be_entered_anywhere(start: int, size: int) -> None:
    mixed = mixture(3, [300, 31, 7], [3.0, 2.0, 0.1], samples=250)
    whole = [draw for number in range(6) for draw in take_pass(mixed, number)]
    assert mixed.take(start, start + size).tolist() == whole[start : start + size]


def test_mixture_meets_weights_and_repeats_nothing_within_a_pass_of_a_source() -> None:
    mixed = mixture(5, [100, 1000], [1.0, 3.0], samples=200)
    draws = mixed.take(0, 200 * 20)
    for number in range(20):
        assert (draws[number * 200 :][:200] < 100).sum() == 50
    first = draws[draws < 100].reshape(10, 100)
    assert all(sorted(one) == list(range(100)) for one in first)
    second = draws[draws >= 100][:3000].reshape(3, 1000)
    assert all(sorted(one - 100) == list(range(1000)) for one in second)


def test_mixture_spreads_its_sources_over_the_epoch() -> None:
    draws = np.array(take_pass(mixture(5, [1000, 3000], [None, None])))
    assert abs((draws.reshape(40, 100) < 1000).sum(axis=1) - 25).max() <= 2


@pytest.mark.parametrize(
    ("weights", "samples"),
    [([1.0, None], None), ([None, None], 10), ([1.0, 0.0], None), ([1e6, 1.0], 10), ([1e308, 1e308], 10)],
)
def test_mixture_that_cannot_be_is_refused(weights: list[float | None], samples: int | None) -> None:
    with pytest.raises(UsageError, match="mixing"):
        mixture(1, [10, 10], weights, samples)


@pytest.mark.parametrize("kind", [np.float32, np.float16, np.int16, np.uint8])
def test_weights_are_summed_in_double_precision(kind: type[np.generic]) -> None:
    weights = np.array([1, 3, 0, 200] * 500).astype(kind)
    samplers = [WeightedSampler(numbers, seed=4) for numbers in (weights, weights.astype(np.float64))]
    drawn, expected = (sampler.take(0, len(weights)).tolist() for sampler in samplers)
    assert drawn == expected
    assert samplers[0].describe() == samplers[1].describe()
