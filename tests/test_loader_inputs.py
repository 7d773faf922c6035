"""What the loader may be given: manifests, names, folders, lists, URLs; and files that choose samples and labels."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from pipeline import prepare, write

from shardforge.errors import ManifestError, UsageError
from shardforge.loader.descriptions import read_classes
from shardforge.loader.inputs import check_size, open_all_inputs, open_inputs
from shardforge.loader.ranks import find_ranks, map_labels, read_rank_table
from shardforge.loader.selection import drop_unlabelled, select_samples


@pytest.fixture
def dataset(tmp_path: Path, image_tree: Path) -> Path:
    """Return a dataset of two splits, train of two shards."""
    write(prepare(tmp_path, f"photos=folder:{image_tree}"), tmp_path / "out", "--shard-samples", 5)
    return tmp_path / "out"


def touch(folder: Path, *names: str) -> list[str]:
    paths = [folder / name for name in names]
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return [str(path) for path in paths]


def urls(inputs: object, **options: object) -> list[str]:
    return [shard.url for shard in open_inputs(inputs, **options).shards]


def test_manifest_gives_shards_sizes_checksums_and_classes(dataset: Path) -> None:
    found = open_inputs(dataset / "_info.json", split="train")
    content = json.loads((dataset / "_info.json").read_text())["splits"]["train"]
    assert [shard.url for shard in found.shards] == [str(dataset / name) for name in content["filenames"]]
    assert [shard.samples for shard in found.shards] == content["shard_lengths"]
    assert [shard.bytes for shard in found.shards] == content["shard_bytes"]
    assert [shard.sha256 for shard in found.shards] == content["shard_sha256"]
    assert (found.classes, found.split) == (("birds", "fish", "mammals"), "train")
    assert found.index == str(dataset / "index" / "train.parquet")
    assert [shard.row_group for shard in found.shards] == list(range(len(content["filenames"])))


def test_folder_with_a_manifest_and_an_alias_are_the_same_split(dataset: Path) -> None:
    assert open_inputs(dataset, split="training") == open_inputs(dataset / "_info.json", split="train")


def test_url_gives_the_same_shards(dataset: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for name in ("_info.json", "classes.txt"):
        memory.pipe_file(f"/inputs/{name}", (dataset / name).read_bytes())
    found = open_inputs("memory://inputs/_info.json", split="train")
    local = open_inputs(dataset, split="train")
    assert [shard.url for shard in found.shards] == [
        shard.url.replace(str(dataset), "memory://inputs") for shard in local.shards
    ]
    assert (found.classes, found.index) == (local.classes, "memory://inputs/index/train.parquet")


def test_remote_folder_and_braces(tmp_path: Path) -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    for number in range(3):
        memory.pipe_file(f"/shards/a-{number:03d}.tar", b"")
    expected = [f"memory://shards/a-{number:03d}.tar" for number in range(3)]
    assert urls("memory://shards/a-{000..002}.tar") == expected
    assert [url.replace(":///", "://") for url in urls("memory://shards/")] == expected


def test_file_url_is_a_path(dataset: Path) -> None:
    assert open_inputs(f"file://{dataset}/_info.json", split="train") == open_inputs(dataset, split="train")


def test_missing_split_lists_those_there(dataset: Path) -> None:
    with pytest.raises(UsageError, match="no split test; choose one of train, validation"):
        open_inputs(dataset, split="test")
    with pytest.raises(UsageError, match="several splits; choose one of train, validation"):
        open_inputs(dataset)


def test_manifest_of_others_may_name_urls_and_our_name_of_its_split(tmp_path: Path) -> None:
    split = {"filenames": ["a.tar", "https://example.org/b.tar", "c.tar"], "shard_lengths": [3, 4, 0]}
    (tmp_path / "_info.json").write_text(json.dumps({"splits": {"training": split}}))
    expected = [str(tmp_path / "a.tar"), "https://example.org/b.tar"]
    assert urls(tmp_path / "_info.json", trust=True) == urls(tmp_path, split="train", trust=True) == expected


def test_shard_index_of_wids(tmp_path: Path) -> None:
    content = {"wids_version": 1, "shardlist": [{"url": "a.tar", "nsamples": 7, "filesize": 10240, "md5sum": "0"}]}
    index = tmp_path / "index.json"
    index.write_text(json.dumps(content))
    [shard] = open_inputs(index).shards
    assert (shard.url, shard.samples, shard.bytes, shard.sha256) == (str(tmp_path / "a.tar"), 7, 10240, None)
    with pytest.raises(UsageError, match="without splits"):
        open_inputs(index, split="train")


@pytest.mark.parametrize(
    "content",
    [
        "{",
        "[]",
        '{"splits": {}}',
        '{"splits": []}',
        '{"splits": null}',
        '{"shardforge": {}}',
        *(
            f'{{"splits": {{"a": {{"filenames": ["{name}"], "shard_lengths": [1]}}}}}}'
            for name in ("", "a\\n.tar", "a\\u0000.tar", "\\ud800.tar")  # no file can have the last one's name
        ),
        '{"shardlist": [{"url": "a.tar"}]}',
        '{"shardlist": 3}',
        '{"shardlist": [{"url": "a.tar", "nsamples": 1e999}]}',
        '{"shardlist": [{"url": "a.tar", "nsamples": 1, "filesize": "10240"}]}',
        '{"splits": {"a": {"filenames": [], "shard_lengths": []}}, "shardforge": {"classes": {"count": 1, "file": 5}}}',
    ],
)
def test_damaged_description_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "_info.json").write_text(content)
    with pytest.raises(ManifestError, match=r"_info\.json: "):
        open_inputs(tmp_path)


def test_braces_stars_lists_and_several_names(tmp_path: Path) -> None:
    tars = touch(tmp_path, "a-000.tar", "a-001.tar", "b-000.tar")
    (tmp_path / "list.txt").write_text("# mine\na-{000..001}.tar\n\nb-000.tar\n")
    assert urls(tmp_path / "a-{000..001}.tar") == tars[:2]
    assert urls(f"{tmp_path}/{{a,b}}-*.tar") == tars
    assert urls(tmp_path / "list.txt") == tars
    assert urls([tars[2], tmp_path / "a-{000..001}.tar"]) == [tars[2], *tars[:2]]


def test_dataset_in_a_list_of_tars_is_refused(dataset: Path) -> None:
    with pytest.raises(UsageError, match="stands in a list of tars"):
        open_inputs([dataset / "_info.json", dataset / "_info.json"], split="train")


@pytest.mark.parametrize("name", ["x-{000..003}.tar", "x-*.tar", "x.tar"])
def test_name_that_matches_nothing_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="matches no file"):
        open_inputs(tmp_path / name)


def test_folder_of_plain_tars(tmp_path: Path) -> None:
    tars = touch(tmp_path, "shard-000.tar", "shard-001.tar")
    assert urls(tmp_path) == urls(str(tmp_path) + "/", split="training") == tars


def test_folder_finds_the_split_by_its_folder_or_the_names_of_the_tars(tmp_path: Path) -> None:
    by_folder = touch(tmp_path / "one", "train/a-000.tar", "validation/a-000.tar")
    by_name = touch(tmp_path / "two", "a-train-000.tar", "a-validation-000.tar")
    for root, tars in [("one", by_folder), ("two", by_name)]:
        assert urls(tmp_path / root, split="training") == tars[:1]
        assert urls(tmp_path / root, split="validation") == tars[1:]
    with pytest.raises(UsageError, match="no tar of split test; the names begin with a-train-, a-validation-"):
        open_inputs(tmp_path / "two", split="test")


def test_folder_with_odd_characters_in_its_name(tmp_path: Path) -> None:
    tars = touch(tmp_path / "[a]?", "train/s-000.tar")
    assert urls(tmp_path / "[a]?", split="train") == tars


@pytest.mark.parametrize("name", ["nothing", "nothing/_info.json", "nothing.txt"])
def test_missing_inputs_are_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="nothing"):
        open_inputs(tmp_path / name)


def test_a_file_of_another_kind_is_refused(photos: Path) -> None:
    with pytest.raises(UsageError, match=r"photos\.csv: is neither an _info\.json, nor a tar"):
        open_inputs(photos / "photos.csv")


def test_commands_and_unknown_protocols_are_refused() -> None:
    with pytest.raises(UsageError, match="commands are not run"):
        open_inputs("pipe:curl https://example.org/a.tar")
    with pytest.raises(UsageError, match="cannot be read"):
        open_inputs("nowhere://bucket/_info.json")


def test_several_manifests_each_with_its_split(dataset: Path) -> None:
    both = open_all_inputs([dataset / "_info.json"] * 2, splits=["train", "validation"])
    assert [found.split for found in both] == ["train", "validation"]
    assert [found.split for found in open_all_inputs([dataset] * 2, splits=["train"])] == ["train", "train"]
    with pytest.raises(UsageError, match="2 splits for 3 inputs"):
        open_all_inputs([dataset] * 3, splits=["train", "validation"])


def test_manifests_with_different_classes_need_a_class_file(dataset: Path, tmp_path: Path) -> None:
    tars = tmp_path / "more"
    touch(tars, "a-000.tar")
    with pytest.raises(UsageError, match="different classes"):
        open_all_inputs([dataset, tars], splits=["train"])
    (tmp_path / "classes.txt").write_text("birds\nfish\nmammals\nothers\n")
    found = open_all_inputs([dataset, tars], splits=["train"], class_file=tmp_path / "classes.txt")
    assert [len(each.classes or ()) for each in found] == [4, 4]


def test_names_that_no_file_can_have_are_refused(tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_text("a\0.tar\n")
    (tmp_path / "index.json").write_text('{"shardlist": [{"url": "a\\u0000.tar", "nsamples": 1}]}')
    for place in ("list.txt", "index.json", "folder\0"):
        with pytest.raises(UsageError, match="holds a NUL"):
            open_inputs(tmp_path / place)


def test_only_line_feeds_part_the_names_of_classes(tmp_path: Path) -> None:
    (tmp_path / "classes.txt").write_text("\ufeffAnas\u2028acuta\r\n\nAra\x85macao\n", newline="")
    assert read_classes(tmp_path / "classes.txt") == ("Anas\u2028acuta", "", "Ara\x85macao")


def test_class_file_must_hold_names(tmp_path: Path) -> None:
    (tmp_path / "empty.txt").touch()
    (tmp_path / "latin.txt").write_bytes(b"caf\xe9\n")
    for name in ("empty.txt", "latin.txt", "missing.txt"):
        with pytest.raises(UsageError, match=name):
            read_classes(tmp_path / name)


def test_size_that_contradicts_the_shards_is_refused() -> None:
    check_size(50, 100, exact=False)
    check_size(100, 100, exact=True)
    for size, exact in [(101, False), (50, True)]:
        with pytest.raises(UsageError, match="contradicts the shards, which hold 100"):
            check_size(size, 100, exact=exact)


def test_local_inputs_load_no_fsspec(dataset: Path) -> None:
    code = (
        "import sys; from shardforge.loader.inputs import open_inputs;"
        f"open_inputs({str(dataset)!r}, split='train'); print('fsspec' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.strip() == "False"


class Keys:
    """An index of samples named by letters."""

    def __init__(self, names: str) -> None:
        self._numbers = {name: number for number, name in enumerate(names)}
        self.samples = len(names)

    def find_all(self, keys: Iterable[str]) -> np.ndarray:
        return np.array([self._numbers.get(key, -1) for key in keys], np.int64)


LABELS = np.array([0, 1, 2, 0, -1], np.int32)


def test_subset_and_exclusions_by_key_table_and_number(tmp_path: Path) -> None:
    (tmp_path / "keys.txt").write_text("\ufeffe\n# a comment\nb\n\na\n")
    (tmp_path / "keys.csv").write_text("key,reason\nb,blurred\nz,elsewhere\n")
    np.save(tmp_path / "numbers.npy", np.array([3, 4]))
    np.save(tmp_path / "mask.npy", LABELS == 0)
    found = select_samples(Keys("abcde"), LABELS, subset=tmp_path / "keys.txt", exclude=[tmp_path / "keys.csv"])
    assert found.kept.tolist() == [0, 4]
    assert found.unmatched == {tmp_path / "keys.csv": 1}
    assert drop_unlabelled(found).kept.tolist() == [0]
    assert found.labels_of_kept().tolist() == [0, -1, -1, -1, -1]
    assert select_samples(Keys("abcde"), LABELS, subset=tmp_path / "mask.npy").kept.tolist() == [0, 3]
    assert select_samples(Keys("abcde"), LABELS, exclude=[tmp_path / "numbers.npy"]).kept.tolist() == [0, 1, 2]


def test_relabelling_by_name_number_or_not_at_all(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("key,label\na,fish\nb,\nc,0\nz,1\n")
    found = select_samples(Keys("abcde"), LABELS, relabel=table, classes=["birds", "fish", "mammals"])
    assert found.kept.tolist() == [0, 2, 3, 4]
    assert found.labels.tolist() == [1, -1, 0, 0, -1]
    assert found.unmatched == {table: 1}
    assert LABELS.tolist() == [0, 1, 2, 0, -1]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", "a\nz\ny\n", "2 of 3 entries name no sample, the first of them entry 2"),
        ("a.csv", "name\na\n", "has no column key"),
        ("a.npy", "no array", "not npy"),
        ("b.npy", "", "not npy"),
        ("b.csv", "", "has no rows; expected a line that names the columns"),
        ("b.txt", "\n", "leave no sample"),
    ],
)
def test_unusable_subset_is_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=message):
        select_samples(Keys("abcde"), LABELS, subset=tmp_path / name)


@pytest.mark.parametrize(
    "array", [np.array([5]), np.array([-1]), np.array([0.5]), np.ones(4, bool), np.ones((2, 2), int)]
)
def test_numbers_that_are_no_samples_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "numbers.npy", array)
    with pytest.raises(UsageError, match="expected sample numbers from 0 to 4"):
        select_samples(Keys("abcde"), LABELS, subset=tmp_path / "numbers.npy")


def test_labels_too_large_and_several_arrays_are_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("key,label\na,2147483648\n")
    with pytest.raises(UsageError, match="neither a class nor the number of one"):
        select_samples(Keys("abcde"), LABELS, relabel=tmp_path / "labels.csv")
    with open(tmp_path / "several.npy", "wb") as file:
        np.savez(file, LABELS, LABELS)
    with pytest.raises(UsageError, match="holds several arrays"):
        select_samples(Keys("abcde"), LABELS, subset=tmp_path / "several.npy")


@pytest.mark.parametrize("label", ["whale", "3", "-1"])
def test_label_that_is_no_class_is_refused(tmp_path: Path, label: str) -> None:
    (tmp_path / "labels.csv").write_text(f"key,label\na,{label}\n")
    with pytest.raises(UsageError, match="neither a class nor the number of one"):
        select_samples(Keys("abcde"), LABELS, relabel=tmp_path / "labels.csv", classes=["birds", "fish", "mammals"])


def test_labels_of_another_rank_from_a_table(tmp_path: Path) -> None:
    table = tmp_path / "ranks.csv"
    table.write_text("class,genus,family\nAnas acuta,Anas,Anatidae\nAnas crecca,Anas,Anatidae\nAra macao,Ara,\n")
    species = ["Ara macao", "Anas acuta", "Anas crecca"]
    labels = np.array([0, 1, 2, -1], np.int32)
    genera, classes = map_labels(labels, read_rank_table(table, "genus", species))
    assert (genera.tolist(), classes) == ([1, 0, 0, -1], ("Anas", "Ara"))
    families, classes = map_labels(labels, read_rank_table(table, "family", species))
    assert (families.tolist(), classes) == ([-1, 0, 0, -1], ("Anatidae",))
    with pytest.raises(UsageError, match="no row for 1 classes, Felis catus"):
        read_rank_table(table, "genus", [*species, "Felis catus"])


def test_labels_of_another_rank_from_the_samples() -> None:
    genus = {0: "Ara", 1: "Anas", 2: "Anas", 3: "Ara", 4: None}
    assert find_ranks(np.array([0, 2, 2, 0, -1], np.int32), "genus", lambda n: {"genus": genus[n]}) == [
        "Ara",
        "",
        "Anas",
    ]
    with pytest.raises(UsageError, match=r"class 0: its samples differ in genus \(Anas, Ara\)"):
        find_ranks(np.array([0, 0], np.int32), "genus", lambda n: {"genus": genus[n]})
    for read_json in (lambda n: {"genus": genus[n]}, lambda n: ["family"]):
        with pytest.raises(UsageError, match="has a family"):
            find_ranks(LABELS, "family", read_json)
