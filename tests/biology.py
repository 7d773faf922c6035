"""Small faithful trees of iNat21, EOL and BIOSCAN, laid out from real photos and real names.

Each `make_*` returns what it laid out: one `Laid` for every image, file or row that a source lists, in no order.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

from PIL import Image

from shardforge.records import RANKS
from shardforge.taxonomy.taxon import make_taxon

TAXA = Path(__file__).resolve().parent.parent / "data" / "taxa.csv.gz"

#: A row of `TAXA`: source, name, the seven ranks, common, taxid.
Row = dict[str, str]

_SIZE = (80, 60)
_INAT_TREES = {"train": 3, "val": 1}
_LICENSE = {"name": "Attribution License", "url": "http://creativecommons.org/licenses/by/2.0/"}

#: Numbers of pictures: no two trees share an image.
_FIRST_OF_EOL, _FIRST_OF_BIOSCAN = 450, 900


@dataclass(frozen=True)
class Laid:
    """What a source should say about one image, file or row: its path from the root, and what is known of it."""

    path: str
    ranks: tuple[str | None, ...] = (None,) * len(RANKS)
    common_name: str | None = None
    license: str | None = None
    group_id: str | None = None
    reason: str | None = None

    @property
    def label(self) -> str | None:
        """The name at the lowest rank that is known."""
        return next((name for name in reversed(self.ranks) if name), None)

    def as_row(self) -> dict[str, str | None]:
        """Return what the source should list, by column."""
        known = {
            name: getattr(self, name) for name in ("path", "label", "common_name", "license", "group_id", "reason")
        }
        return known | dict(zip(RANKS, self.ranks, strict=True))


# Names


@cache
def read_taxa() -> tuple[Row, ...]:
    """Return the 13,231 real names of data/taxa.csv.gz."""
    with gzip.open(TAXA, "rt", encoding="utf-8", newline="") as file:
        return tuple(csv.DictReader(file))


def pick_taxa(test: Callable[[Row], object], count: int) -> list[Row]:
    """Return the first `count` names that pass `test`, and demand that there are so many."""
    found = [row for row in read_taxa() if test(row)][:count]
    assert len(found) == count
    return found


def is_whole(row: Row) -> bool:
    """Whether all seven ranks are known, and the name is a binomial of plain words."""
    return all(row[rank] for rank in RANKS) and row["name"] == row["species"] and row["name"].replace(" ", "").isalpha()


#: Name of a case -> whether a row is one. Every one occurs in `pick_hard_taxa`.
HARD: dict[str, Callable[[Row], object]] = {
    "no class": lambda row: row["order"] and not row["class"],
    "no order": lambda row: row["family"] and not row["order"],
    "no family": lambda row: row["order"] and row["genus"] and not row["family"],
    "no kingdom": lambda row: row["phylum"] and not row["kingdom"],
    "no rank but the name": lambda row: not row["genus"] and row["name"].isascii() and len(row["name"].split()) == 2,
    "hybrid": lambda row: " ×" in row["name"] and len(row["name"].split()) < 4,
    "hybrid formula": lambda row: " × " in row["name"] and len(row["name"].split()) > 3,
    "trinomial": lambda row: row["genus"] and len(row["name"].split()) == 3,
    "hyphen": lambda row: row["kingdom"] and "-" in row["name"],
    "synonym": lambda row: row["genus"] and len(row["name"].split()) == 2 and row["name"] != row["species"],
    "homonym genus of an animal": lambda row: row["genus"] == "Prunella" and row["kingdom"] == "Metazoa",
    "homonym genus of a plant": lambda row: row["genus"] == "Prunella" and row["kingdom"] == "Viridiplantae",
    "fungus": lambda row: row["kingdom"] == "Fungi" and is_whole(row),
    "common name": lambda row: row["common"] and is_whole(row),
}


@cache
def pick_hard_taxa() -> tuple[Row, ...]:
    """Return one real name for each of `HARD`."""
    return tuple(pick_taxa(test, 1)[0] for test in HARD.values())


def ranks_of(row: Row) -> tuple[str | None, ...]:
    """Return the seven ranks as a source should list them, in the names of `shardforge.taxonomy`; null for nothing."""
    known = make_taxon(row).ranks
    return tuple(known.get(rank) for rank in RANKS)


# Images


@cache
def _thumbnails(photos: Path) -> tuple[Image.Image, ...]:
    images = []
    for path in sorted(photos.glob("*.webp")):
        with Image.open(path) as photo:
            images.append(photo.convert("RGB").resize(_SIZE))
    return tuple(images)


@cache
def picture(photos: Path, number: int) -> bytes:
    """Return a small JPEG of a photo; no two numbers give the same pixels."""
    thumbnails = _thumbnails(photos)
    turn, index = divmod(number, len(thumbnails))
    width, height = _SIZE
    file = io.BytesIO()
    thumbnails[index].crop((0, 0, width - turn, height - turn)).save(file, "JPEG", quality=90)
    return file.getvalue()


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def write_table(path: Path, rows: Sequence[dict[str, object]], delimiter: str = ",") -> Path:
    """Write rows as CSV, or as TSV with a tab for `delimiter`; all have the keys of the first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return path


def write_tar(path: Path, members: dict[str, bytes], mode: str = "w") -> Path:
    """Write a tar, or with mode "w:gz" a compressed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


# iNat21


def inat_folder(number: int, row: Row) -> str:
    """Return the name of a class folder: number and the seven ranks, the last one without its genus."""
    ranks = [name or "" for name in ranks_of(row)]
    ranks[-1] = ranks[-1].removeprefix(f"{ranks[-2]} ")
    return "_".join([f"{number:05d}", *ranks]).replace(" ", "_")


def inat_taxa(whole: int = 4) -> list[Row]:
    """Return names as iNat21 has them: a genus for each, and a kingdom for all but one; hybrids among them."""
    hard = [row for row in pick_hard_taxa() if row["genus"]]
    hybrid = {"name": "Salix × fragilis", "species": "Salix × fragilis", "genus": "Salix", "family": "Salicaceae"}
    rest = {"order": "Malpighiales", "class": "Magnoliopsida", "phylum": "Tracheophyta", "kingdom": "Plantae"}
    return [*pick_taxa(is_whole, whole), *hard, {"source": "", "common": "", "taxid": "", **rest, **hybrid}]


def make_inat21(root: Path, photos: Path, *, trees: dict[str, int] | None = None) -> list[Laid]:
    """Lay out `trees` (name -> images of a class), and for each its annotations as TREE.json; one file lies astray."""
    laid = []
    number = 0
    for tree, count in (trees or _INAT_TREES).items():
        content = _empty_annotations()
        for category, row in enumerate(inat_taxa()):
            folder = inat_folder(category, row)
            content["categories"].append(_inat_category(category, folder, row))
            for _ in range(count):
                path = f"{tree}/{folder}/{number:08x}-4c1a-4f6e-9d4b-{number:012x}.jpg"
                _write(root / path, picture(photos, number))
                content["images"].append(_inat_image(number, path))
                content["annotations"].append({"id": number, "image_id": number, "category_id": category})
                laid.append(Laid(path, ranks_of(row), row["common"] or None, _LICENSE["url"]))
                number += 1
        (root / f"{tree}.json").write_text(json.dumps(content), encoding="utf-8")
    astray = f"{tree}/unsorted/photo.jpg"
    _write(root / astray, picture(photos, number))
    return [*laid, Laid(astray, reason="misnamed")]


def _empty_annotations() -> dict[str, list[dict[str, object]]]:
    return {"images": [], "categories": [], "annotations": [], "licenses": [{"id": 1, **_LICENSE}]}


def _inat_category(number: int, folder: str, row: Row) -> dict[str, object]:
    ranks = dict(zip(RANKS, (name or "" for name in ranks_of(row)), strict=True))
    species = ranks.pop("species")
    epithet = species.removeprefix(f"{ranks['genus']} ")
    name = {"id": number, "name": species, "common_name": row["common"], "supercategory": ranks["class"]}
    return {**name, **ranks, "specific_epithet": epithet, "image_dir_name": folder}


def _inat_image(number: int, path: str) -> dict[str, object]:
    """Return an entry of `images`; the place of every third is NaN, and one photographer is not ASCII."""
    place = {"latitude": 43.5 + number / 10, "longitude": -79.25, "location_uncertainty": 12}
    if number % 3 == 0:
        place = dict.fromkeys(place, float("nan"))
    owner = "Zoë Østergård" if number % 5 == 0 else "A. Observer"
    size = dict(zip(("width", "height"), _SIZE, strict=True))
    date = "2019-06-01 10:00:00+00:00"
    return {"id": number, **size, "file_name": path, "license": 1, "rights_holder": owner, "date": date, **place}


# EOL


def eol_taxa(whole: int = 4) -> list[Row]:
    """Return names of EOL pages: species, and every hard case."""
    return [*pick_taxa(is_whole, whole), *pick_hard_taxa()]


def make_eol(root: Path, photos: Path, *, per_page: int = 2) -> list[Laid]:
    """Lay out `media/`, and beside it taxon.tab, provider_ids.csv, media_manifest_1.csv and vernacularnames.csv.

    Pages follow one another in plain folders, a plain tar and a .tar.gz. The last page is in provider_ids.csv alone.
    What is returned has its paths from `media`.
    """
    taxa = eol_taxa()
    pages = {45_000_000 + 7 * i: row for i, row in enumerate(taxa)}
    unranked = max(pages)
    laid, manifest, tar, compressed = [], [], {}, {}
    content = 12_700_000
    for place, (page, row) in enumerate(pages.items()):
        for _ in range(per_page):
            content += 13
            name = f"{content}_{page}_eol-full-size-copy.jpg"
            license = ("cc-by", "cc-by-nc-sa-3.0", "cc-0")[content % 3]
            manifest.append(_manifest_row(content, page, license))
            data = picture(photos, _FIRST_OF_EOL + len(manifest))
            ranks = ranks_of(row) if page != unranked else (*(None,) * 5, row["genus"], row["species"])
            if place % 4 == 3:
                compressed[name] = data
                continue
            if place % 4 == 2:
                tar[name] = data
                path = f"image_set_02.tar::{name}"
            else:
                path = f"image_set_01/{page % 10}/{name}"
                _write(root / "media" / path, data)
            laid.append(Laid(path, ranks, license=license, group_id=f"eol:{content}"))
    write_tar(root / "media" / "image_set_02.tar", tar)
    write_tar(root / "media" / "image_set_03.tar.gz", compressed, "w:gz")
    laid.append(Laid("image_set_03.tar.gz", reason="compressed"))
    _write(root / "media" / "image_set_01" / "cover.jpg", picture(photos, 0))
    laid.append(Laid("image_set_01/cover.jpg", reason="misnamed"))
    write_hierarchy(root / "taxon.tab", {page: row for page, row in pages.items() if page != unranked})
    provider = {"node_id": 1, "resource_pk": "x", "resource_id": 724}
    names = [
        provider | {"page_id": page, "preferred_canonical_for_page": f"<i>{row['species'] or row['genus']}</i>"}
        for page, row in pages.items()
    ]
    write_table(root / "provider_ids.csv", names)
    write_table(root / "media_manifest_1.csv", manifest)
    write_table(root / "vernacularnames.csv", [name for page in pages for name in _vernaculars(page, pages[page])])
    return laid


def _vernaculars(page: int, row: Row) -> list[dict[str, object]]:
    """Return an English name, which EOL prefers, and a German one."""
    names = [(row["common"] or f"{row['name'].split()[-1]} thing", "eng"), ("Ding", "deu")]
    taxon = {"page_id": page, "canonical_form": f"<i>{row['species'] or row['genus']}</i>"}
    rest = {"resource_name": "TraitBank", "is_preferred_by_resource": "", "is_preferred_by_eol": "preferred"}
    return [{**taxon, "vernacular_string": name, "language_code": language, **rest} for name, language in names]


def make_rare_species(root: Path, laid: Sequence[Laid]) -> tuple[Laid, Laid]:
    """Write the lists of the rare-species benchmark, seen_in_training.json and unseen_in_training.json.

    Returns:
        An EOL image that the first list names by its path on another machine, and one whose species the second names,
        in the form of its keys: the seven ranks with hyphens.
    """
    images = [image for image in laid if image.reason is None and all(image.ranks)]
    seen, unseen = images[0], images[-1]
    names = [name.rpartition("::")[2].rpartition("/")[2] for name in (seen.path, unseen.path)]
    ranks = [str(name) for name in unseen.ranks]
    key = "-".join([*ranks[:-1], ranks[-1].removeprefix(f"{ranks[-2]} ")])
    lists = {"seen": {seen.label: [f"/elsewhere/{names[0]}"]}, "unseen": {key: [f"/elsewhere/{names[1]}"]}}
    for kind, content in lists.items():
        _write(root / f"{kind}_in_training.json", json.dumps(content).encode())
    return seen, unseen


def _manifest_row(content: int, page: int, license: str) -> dict[str, object]:
    return {
        "EOL content ID": content,
        "EOL page ID": page,
        "Medium Source URL": f"https://example.org/media/{content}.jpg",
        "EOL Full-Size Copy URL": f"https://content.eol.org/data/media/{content:x}.jpg",
        "License Name": license,
        "Copyright Owner": "Jane Doe, Museum of Nature",
    }


def write_hierarchy(path: Path, pages: dict[int, Row]) -> Path:
    """Write taxon.tab as the EOL Dynamic Hierarchy has it: a row for each taxon, which names its parent.

    Above the kingdoms and between the ranks stand clades that are no rank of ours.
    """
    rows: dict[tuple[str | None, ...], dict[str, object]] = {}
    top = _taxon_row("EOL-1", "", "clade", "Life", 1)
    for page, row in pages.items():
        parent = str(top["taxonID"])
        raw = [row[rank] for rank in RANKS]
        for depth, (rank, name) in enumerate(zip(RANKS, raw, strict=True)):
            if not name:
                continue
            key = tuple(raw[: depth + 1])
            if key not in rows:
                number = 100 + len(rows)
                known = page if not any(raw[depth + 1 :]) else number
                rows[key] = _taxon_row(f"EOL-{number}", parent, rank, name, known)
            parent = str(rows[key]["taxonID"])
            if rank == "phylum":
                clade = (*key, "clade")
                rows.setdefault(clade, _taxon_row(f"EOL-{parent}-c", parent, "clade", f"{name}omorpha", ""))
                parent = str(rows[clade]["taxonID"])
    return write_table(path, [top, *rows.values()], "\t")


def _taxon_row(number: str, parent: str, rank: str, name: str, page: object) -> dict[str, object]:
    return {
        "taxonID": number,
        "source": "trunk:1",
        "acceptedNameUsageID": "",
        "parentNameUsageID": parent,
        "scientificName": f"{name} (Linnaeus, 1758)" if rank == "species" else name,
        "taxonRank": rank,
        "taxonomicStatus": "accepted",
        "canonicalName": name,
        "eolID": page,
    }


# BIOSCAN


def bioscan_taxa(whole: int = 3) -> list[tuple[str | None, ...]]:
    """Return ranks of insects that end at every rank from species up to class."""
    insects = pick_taxa(lambda row: row["class"] == "Insecta" and is_whole(row), whole)
    ranks = [ranks_of(row) for row in insects]
    return [*ranks, *(ranks[0][:known] + (None,) * (len(RANKS) - known) for known in range(3, len(RANKS)))]


def make_bioscan(root: Path, photos: Path, *, version: str = "1M", package: str = "folder") -> list[Laid]:
    """Lay out `images/` and `metadata.tsv` (1M) or `metadata.csv` (5M).

    Args:
        root: Where to.
        photos: The repository's photos.
        version: "1M" (part folders, columns `image_file`, `chunk_number`, `uri`, `not_classified` for no name) or "5M"
            (split and chunk folders, columns `processid`, `split`, `chunk`, `dna_bin`, empty for no name).
        package: "folder", "tar", "zip" (stored), "deflated" (a compressed zip) or "hdf5".

    One row has no file, and one file no row.
    """
    laid, rows, files = [], [], {}
    for number, ranks in enumerate(ranks for ranks in bioscan_taxa() for _ in range(3)):
        process = f"GMABC{number:03d}-21"
        row, inside = _bioscan_row(version, number, process, ranks)
        rows.append(row)
        if number != 4:
            files[inside] = bioscan_picture(photos, number)
        laid.append(Laid(inside, ranks, group_id=process, reason="vanished" if number == 4 else None))
    stray = "part1/STRAY-99.jpg" if version == "1M" else "train/0/STRAY-99.jpg"
    files[stray] = bioscan_picture(photos, len(rows))
    laid.append(Laid(stray, reason="no_metadata"))
    write_table(root / f"metadata.{'tsv' if version == '1M' else 'csv'}", rows, "\t" if version == "1M" else ",")
    prefix = "images/" + _pack(root / "images", files, package)
    return [replace(known, path=known.path if known.reason == "vanished" else prefix + known.path) for known in laid]


def bioscan_picture(photos: Path, number: int) -> bytes:
    """Return the image of a row of the metadata."""
    return picture(photos, _FIRST_OF_BIOSCAN + number)


def _bioscan_row(version: str, number: int, process: str, ranks: Iterable[str | None]) -> tuple[dict[str, object], str]:
    """Return a row of the metadata, and the path of its image below the root."""
    named = dict(zip(RANKS, ranks, strict=True))
    del named["kingdom"]  # no column: all are animals
    bin = f"BOLD:AAA{number // 2:04d}"
    if version == "1M":
        names = {rank: name or "not_classified" for rank, name in named.items()}
        row = {"sampleid": f"BIOUG{number}", "processid": process, "uri": bin, "name": "x", **names}
        image = f"{process}.jpg"
        parts = {"subfamily": "not_classified", "nucraw": "ACGT", "image_file": image, "chunk_number": number % 2 + 1}
        return {**row, **parts}, f"part{number % 2 + 1}/{image}"
    names = {rank: name or "" for rank, name in named.items()}
    split = "train" if names["species"] else "pretrain"
    chunk = f"{number % 3}" if split == "train" else f"{number % 3:02x}"
    row = {"processid": process, "sampleid": f"BIOUG{number}", "taxon": "x", **names, "subfamily": "", "dna_bin": bin}
    rest = {"dna_barcode": "ACGT", "country": "Costa Rica", "coord-lat": 10.5, "split": split, "chunk": chunk}
    return {**row, **rest}, f"{split}/{chunk}/{process}.jpg"


def _pack(folder: Path, files: dict[str, bytes], package: str) -> str:
    """Write the files plain or into one package; return what stands before their names in a record's path."""
    if package == "folder":
        for name, data in files.items():
            _write(folder / name, data)
        return ""
    folder.mkdir(parents=True)
    if package == "tar":
        write_tar(folder / "images.tar", files)
        return "images.tar::"
    if package == "hdf5":
        write_hdf5(folder / "images.hdf5", files)
        return "images.hdf5::bioscan_dataset/"
    method = zipfile.ZIP_STORED if package == "zip" else zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(folder / "images.zip", "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return "images.zip::"


def write_hdf5(path: Path, files: dict[str, bytes], **options: object) -> None:
    """Write images as BIOSCAN-1M does: one dataset of bytes for each, named by its file, in one group."""
    import h5py
    import numpy as np

    with h5py.File(path, "w") as file:
        group = file.create_group("bioscan_dataset")
        for name, data in files.items():
            group.create_dataset(name, data=np.frombuffer(data, np.uint8), **options)
