from __future__ import annotations

import tarfile
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline import as_nobody, open_to_all

from shardforge.errors import SourceError, UsageError
from shardforge.records import RANKS
from shardforge.taxonomy.hashing import hash_strings
from shardforge.taxonomy.kingdoms import normalise_kingdom, normalise_kingdoms
from shardforge.taxonomy.languages import is_language, normalise_language
from shardforge.taxonomy.names import KINDS, NamesChoice, open_names, parse_names_file
from shardforge.taxonomy.normalise import name_keys, normalise_name, normalise_names
from shardforge.taxonomy.resolve import NameResolver
from shardforge.taxonomy.search import Status
from shardforge.taxonomy.taxon import make_taxon

TAXA = Path(__file__).resolve().parent.parent / "data" / "taxa.csv.gz"

EOL_VERNACULARS = """\
page_id,canonical_form,vernacular_string,language_code,resource_name,is_preferred_by_resource,is_preferred_by_eol
1,Anas platyrhynchos,wild duck,eng,a,preferred,
1,Anas platyrhynchos,mallard,eng,b,,preferred
1,Anas platyrhynchos,Stockente,deu,b,,
2,Anas crecca,Teal,eng,a,,
2,Anas crecca,common teal,eng,b,,
2,Anas crecca,teal,eng,c,,
3,Oenanthe,wheatears,eng,a,,preferred
4,Oenanthe,water dropworts,eng,a,,preferred
"""
EOL_TAXA = """\
taxonID\tacceptedNameUsageID\tparentNameUsageID\tscientificName\ttaxonRank\ttaxonomicStatus\tcanonicalName\teolID
E-1\t\t\tMetazoa\tkingdom\tvalid\tMetazoa\t10
E-2\t\tE-1\tAves\tclass\tvalid\tAves\t11
E-3\t\tE-2\tMuscicapidae Fleming, 1822\tfamily\tvalid\tMuscicapidae\t12
E-4\t\tE-3\tOenanthe Vieillot, 1816\tgenus\tvalid\tOenanthe\t3
E-5\t\t\tArchaeplastida\tkingdom\tvalid\tArchaeplastida\t13
E-6\t\tE-5\tApiaceae\tfamily\tvalid\tApiaceae\t14
E-7\t\tE-6\tOenanthe L.\tgenus\tvalid\tOenanthe\t4
E-8\t\tE-2\tAnas platyrhynchos L.\tspecies\tvalid\tAnas platyrhynchos\t1
E-9\tE-8\t\tAnas boschas\tspecies\tsynonym\tAnas boschas\t
"""
NODES = [(1, 1, "no rank"), (2, 1, "superkingdom"), (3, 2, "phylum"), (10, 1, "kingdom"), (11, 10, "class")]
NODES += [(12, 11, "subfamily"), (13, 12, "species"), (14, 13, "subspecies"), (4, 3, "species")]
NAMES = [
    (1, "root", "scientific name"),
    (2, "Bacteria", "scientific name"),
    (3, "Bacillota", "scientific name"),
    (3, "Firmicutes", "synonym"),
    (4, "Bacillus subtilis", "scientific name"),
    (10, "Metazoa", "scientific name"),
    (11, "Mammalia", "scientific name"),
    (12, "Rhinocerotinae", "scientific name"),
    (13, "Ceratotherium simum", "scientific name"),
    (13, "white rhino", "common name"),
    (13, "white rhinoceros", "genbank common name"),
    (13, "Ceratotherium cottoni", "in-part"),
    (14, "Ceratotherium simum simum", "scientific name"),
]
AVES = "Animalia\tChordata\tAves\tCharadriiformes\tRecurvirostridae\tHimantopus"
GBIF_TAXA = f"""\
taxonID\tparentNameUsageID\tacceptedNameUsageID\tscientificName\tcanonicalName\ttaxonRank\ttaxonomicStatus\t\
kingdom\tphylum\tclass\torder\tfamily\tgenus
1\t\t\tAnimalia\tAnimalia\tkingdom\taccepted\tAnimalia\t\t\t\t\t
5\t1\t\tHimantopus Brisson, 1760\tHimantopus\tgenus\taccepted\t{AVES}
6\t5\t\tHimantopus himantopus (Linnaeus, 1758)\tHimantopus himantopus\tspecies\taccepted\t{AVES}
7\t5\t6\tHimantopus "leucocephalus" Gould\tHimantopus leucocephalus\tspecies\tsynonym\t{AVES}
8\t5\t\tHimantopus nix\tHimantopus nix\tspecies\tsynonym\tAnimalia\t\t\t\t\tHimantopus
"""
GBIF_VERNACULARS = "taxonID\tvernacularName\tlanguage\n6\tBlack-winged  Stilt\ten\n6\tStelzenläufer\tde\n"


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def dump(rows: list[tuple[object, ...]]) -> str:
    return "".join("\t|\t".join(map(str, row)) + "\t|\n" for row in rows)


def write_ncbi(folder: Path) -> Path:
    write(folder / "nodes.dmp", dump([(*row, "", 0, 1) for row in NODES]))
    write(folder / "names.dmp", dump([(taxon, name, "", kind) for taxon, name, kind in NAMES]))
    return folder


def write_gbif(folder: Path) -> Path:
    write(folder / "Taxon.tsv", GBIF_TAXA)
    write(folder / "VernacularName.tsv", GBIF_VERNACULARS)
    return folder


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


def without_metadata(kept: bytes) -> bytes:
    """Return a kept checklist whose tables do not say what they are of, with the right checksum."""
    source, sink = pa.BufferReader(kept[:-4]), pa.BufferOutputStream()
    for _ in range(3):
        table = pa.ipc.open_stream(source).read_all().replace_schema_metadata(None)
        with pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    data = sink.getvalue().to_pybytes()
    return data + zlib.crc32(data).to_bytes(4, "little")


def open_files(cache: Path, *texts: str, language: str = "en") -> NameResolver:
    return open_names(NamesChoice(tuple(map(parse_names_file, texts)), language), cache=cache)


def ask(resolver: NameResolver, label: str | None = None, **names: str) -> tuple[Status, dict[str, str], str | None]:
    """Return status, known ranks and common name for one record; `class_` stands for class."""
    given = {rank: pa.array([names.get(rank.replace("class", "class_"))], pa.string()) for rank in RANKS}
    found = resolver.resolve(given, pa.array([label], pa.string()) if label else None)
    ranks = {rank: value[0].as_py() for rank, value in found.ranks.items() if value[0].is_valid}
    return Status(int(found.status[0])), ranks, found.common_name[0].as_py()


@pytest.mark.parametrize(
    ("written", "normal"),
    [
        ("  Anas_PLATYRHYNCHOS ", "Anas platyrhynchos"),
        ("ANAS PLATYRHYNCHOS", "Anas platyrhynchos"),
        ("anas Platyrhynchos", "Anas platyrhynchos"),
        ("<i>Anas platyrhynchos</i> Linnaeus, 1758", "Anas platyrhynchos"),
        ("Passer domesticus (Linnaeus, 1758)", "Passer domesticus"),
        ("Aus bus de Haan, 1833", "Aus bus"),
        ("Quercus L.", "Quercus"),
        ("Anas (Anas) crecca", "Anas crecca"),
        ("Rosa canina L. var. alba (Auth.) Other", "Rosa canina alba"),
        ("Sambucus nigra ssp. canadensis", "Sambucus nigra canadensis"),
        ("Rosa 'Peace'", "Rosa"),
        ("Coccinella 7-punctata", "Coccinella 7-punctata"),
        ("Isoe\u0308tes lacustris", "Isoëtes lacustris"),
        ("Salix ×fragilis L.", "Salix × fragilis"),
        ("Salix x fragilis", "Salix × fragilis"),
        ("Cypripedium xanthum", "Cypripedium xanthum"),
        ("xCupressocyparis leylandii", "× Cupressocyparis leylandii"),
        ("Anas superciliosa X platyrhynchos", "Anas superciliosa × platyrhynchos"),
        ("Salix alba L. × Salix fragilis L.", "Salix alba × Salix fragilis"),
        ("SALIX × × SALIX", "Salix × salix"),
        ("SALIX × ALBA × SALIX", "Salix × alba × salix"),
        ("Anas sp.", "Anas"),
        ("Anas cf. crecca", "Anas cf. crecca"),
        ("Culex sp. BOLD:AAA1234", "Culex sp. BOLD:AAA1234"),
        ("human_immunodeficiency_virus_1", "Human immunodeficiency virus 1"),
        ("Salmonella phage P22", "Salmonella phage P22"),
        ("Escherichia coli K-12", "Escherichia coli k-12"),
        ("Aus bus 2", "Aus bus 2"),
        ("Aus bus 1758", "Aus bus"),
        ("not_classified", ""),
        ("(Unidentified)", ""),
        ("incertae sedis", ""),
        ("", ""),
    ],
)
def test_names_have_one_normal_form(written: str, normal: str) -> None:
    assert normalise_name(written) == normal
    assert normalise_names(pa.array([written, None])).to_pylist() == [normal or None, None]


_WORDS = ["Anas", "ANAS", "crecca", "Crecca", "×", "x", "×alba", "subsp.", "var.", "L.", "(Linnaeus,", "1758)", "von"]
_WORDS += ["&", "sp.", "cf.", "(Anas)", "unknown", "d'Orb", "7-punctata", "'Peace'", "_", "é", "virus", "K-12", "1"]
_WORDS += ["nan", "NA", "na", "not", "-", "?", "species", "incertae", "sedis", "NULL"]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.sampled_from(_WORDS), max_size=6).map(" ".join))
def test_normal_form_is_its_own_and_that_of_columns(name: str) -> None:
    normal = normalise_name(name)
    assert normalise_name(normal) == normal
    assert normalise_names(pa.chunked_array([[name], [name]])).to_pylist() == [normal or None] * 2


def test_keys_disregard_case_and_the_sign_of_named_hybrids() -> None:
    names = ["Salix × fragilis", "Salix fragilis", "× Cuprocyparis leylandii", "Salix alba × fragilis"]
    keys = name_keys(pa.array(names)).to_pylist()
    assert keys == ["salix fragilis", "salix fragilis", "cuprocyparis leylandii", "salix alba × fragilis"]


def test_kingdoms_of_all_classifications_are_one() -> None:
    assert [normalise_kingdom(name) for name in ("METAZOA", "Viridiplantae", "fungi", "Bacillati", "Nix", "")] == [
        *("Animalia", "Plantae", "Fungi", "Bacteria", "Nix", "")
    ]
    assert normalise_kingdoms(pa.array(["Metazoa", None, "Nix"])).to_pylist() == ["Animalia", None, "Nix"]


def test_a_taxon_has_whole_species_and_its_genus() -> None:
    assert make_taxon({"kingdom": "Metazoa", "genus": "anas", "species": "crecca"}).species == "Anas crecca"
    assert make_taxon({"genus": "Felis", "species": "felis_catus"}).species == "Felis catus"
    assert make_taxon({"genus": "Bison", "species": "bison"}).species == "Bison bison"
    assert make_taxon({"species": "Salix ×fragilis"}).genus == "Salix"
    assert make_taxon({"genus": "Salix", "species": "×fragilis"}).epithet == "× fragilis"
    assert make_taxon({"species": "Tobacco mosaic virus"}).genus == ""
    assert make_taxon({"genus": "Anas", "species": "Spatula clypeata"}).epithet == "Spatula clypeata"
    assert make_taxon({"class": "Aves", "order": "unknown"}).ranks == {"class": "Aves"}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("eng", "en"),
        ("English", "en"),
        ("pt-BR", "pt"),
        ("ger", "de"),
        ("scottish gaelic", "gd"),
        ("haw", "haw"),
        ("", ""),
    ],
)
def test_languages_have_one_code(text: str, code: str) -> None:
    assert normalise_language(text) == code
    assert is_language(text)


@pytest.mark.parametrize("text", ["klingon", "xx", "e1n"])
def test_what_is_no_language_is_told(text: str) -> None:
    assert not is_language(text)


def test_hashes_of_slices_are_those_of_their_strings() -> None:
    strings = pa.array(["a", "", None, "ab", "ba", "längst"] * 3)
    hashes = hash_strings(strings)
    assert len(set(hashes.tolist())) == 5  # "" and null are one
    assert hash_strings(strings.slice(3, 7)).tolist() == hashes[3:10].tolist()


def test_eol_vernaculars_choose_preferred_then_most_frequent(tmp_path: Path, cache: Path) -> None:
    file = f"eol:{write(tmp_path / 'vernacularnames.csv', EOL_VERNACULARS)}"
    english, german = open_files(cache, file), open_files(cache, file, language="German")
    assert not english.knows_ranks
    assert ask(english, species="Anas platyrhynchos") == (Status.UNKNOWN, {"species": "Anas platyrhynchos"}, "mallard")
    assert ask(english, species="anas_crecca")[2] == "Teal"
    assert ask(english, genus="Oenanthe")[2] is None  # two pages, and nothing tells them apart
    assert ask(german, species="Anas platyrhynchos")[2] == "Stockente"


def test_eol_hierarchy_tells_pages_apart(tmp_path: Path, cache: Path) -> None:
    write(tmp_path / "eol" / "vernacularnames.csv", EOL_VERNACULARS)
    write(tmp_path / "eol" / "taxon.tab", EOL_TAXA)
    resolver = open_files(cache, f"eol:{tmp_path / 'eol'}")
    bird = {"kingdom": "Animalia", "class": "Aves", "family": "Muscicapidae", "genus": "Oenanthe"}
    assert ask(resolver, genus="Oenanthe", family="Muscicapidae") == (Status.RESOLVED, bird, "wheatears")
    assert ask(resolver, genus="Oenanthe", kingdom="Plantae")[2] == "water dropworts"
    assert ask(resolver, genus="Oenanthe") == (Status.AMBIGUOUS, {"genus": "Oenanthe"}, None)
    assert ask(resolver, species="Anas boschas")[0] is Status.SYNONYM
    assert ask(resolver, species="Anas boschas")[2] == "mallard"
    assert ask(resolver, species="Anas crecca")[2] == "Teal"  # a page that the hierarchy lacks


@pytest.mark.parametrize("packed", [False, True])
def test_ncbi_dump(tmp_path: Path, cache: Path, packed: bool) -> None:
    place = write_ncbi(tmp_path / "taxdump")
    if packed:
        with tarfile.open(tmp_path / "taxdump.tar.gz", "w:gz") as tar:
            for part in place.iterdir():
                tar.add(part, part.name)
        place = tmp_path / "taxdump.tar.gz"
    resolver = open_files(cache, f"ncbi:{place}")
    rhino = {"kingdom": "Animalia", "class": "Mammalia", "species": "Ceratotherium simum"}
    assert ask(resolver, species="Ceratotherium simum simum") == (Status.RESOLVED, rhino, "white rhinoceros")
    assert ask(resolver, species="Ceratotherium cottoni")[0] is Status.UNKNOWN
    assert ask(resolver, phylum="Firmicutes") == (Status.SYNONYM, {"kingdom": "Bacteria", "phylum": "Bacillota"}, None)
    assert ask(resolver, kingdom="Metazoa")[:2] == (Status.RESOLVED, {"kingdom": "Animalia"})


@pytest.mark.parametrize("packed", [False, True])
def test_gbif_backbone(tmp_path: Path, cache: Path, packed: bool) -> None:
    place = write_gbif(tmp_path / "backbone")
    if packed:
        with zipfile.ZipFile(tmp_path / "backbone.zip", "w") as archive:
            for part in place.iterdir():
                archive.write(part, f"backbone/{part.name}")
        place = tmp_path / "backbone.zip"
    resolver = open_files(cache, f"gbif:{place}")
    status, ranks, common = ask(resolver, species="Himantopus leucocephalus")
    assert (status, common) == (Status.SYNONYM, "Black-winged Stilt")
    assert list(ranks.values()) == [
        *("Animalia", "Chordata", "Aves", "Charadriiformes", "Recurvirostridae", "Himantopus", "Himantopus himantopus")
    ]
    assert ask(resolver, species="Himantopus nix")[0] is Status.PLACED  # a synonym of nothing


def test_tables_give_synonyms_and_the_taxa_above(tmp_path: Path, cache: Path) -> None:
    resolver = open_files(cache, f"table:{TAXA}")
    assert ask(resolver, species="Himantopus leucocephalus")[1]["species"] == "Himantopus himantopus"
    assert ask(resolver, species="Ceratotherium simum simum") == (
        Status.RESOLVED,
        {
            "kingdom": "Animalia",
            "phylum": "Chordata",
            "class": "Mammalia",
            "order": "Perissodactyla",
            "family": "Rhinocerotidae",
            "genus": "Ceratotherium",
            "species": "Ceratotherium simum",
        },
        "southern white rhinoceros",
    )
    assert ask(resolver, family="anatidae")[1]["order"] == "Anseriformes"
    assert ask(resolver, "Anas_platyrhynchos")[2] == "mallard"


def test_a_table_knows_the_names_that_only_rows_of_others_have(tmp_path: Path, cache: Path) -> None:
    rows = """\
scientific_name,kingdom,genus,species,common_name
Bos bison,Animalia,Bison,Bison bison,American bison
Anas crecca carolinensis,Animalia,Anas,Anas crecca,green-winged teal
Anas boschas,,Anas,Anas platyrhynchos,wild duck
Anas platyrhynchos,Animalia,Anas,Anas platyrhynchos,mallard
"""
    resolver = open_files(cache, f"table:{write(tmp_path / 't.csv', rows)}")
    bison = {"kingdom": "Animalia", "genus": "Bison", "species": "Bison bison"}
    assert ask(resolver, species="Bison bison") == (Status.RESOLVED, bison, "American bison")
    assert ask(resolver, species="Bos bison") == (Status.SYNONYM, bison, "American bison")
    status, ranks, common = ask(resolver, species="Anas crecca")
    assert (status, ranks["kingdom"], common) == (Status.RESOLVED, "Animalia", None)  # the name of its subspecies
    assert ask(resolver, species="Anas platyrhynchos")[2] == "mallard"


def test_rows_of_one_taxon_in_a_table_agree_on_its_common_name(tmp_path: Path, cache: Path) -> None:
    rows = "species,common_name,preferred\nAnas crecca,teal,no\nAnas crecca,Eurasian teal,yes\nAnas nix,none,\n"
    resolver = open_files(cache, f"table:{write(tmp_path / 't.csv', rows)}")
    assert ask(resolver, species="Anas crecca")[2] == "Eurasian teal"


def test_homonyms_are_told_apart_by_what_is_known(cache: Path) -> None:
    resolver = open_files(cache, f"table:{TAXA}")
    assert ask(resolver, genus="Iris") == (Status.AMBIGUOUS, {"genus": "Iris"}, None)
    assert ask(resolver, genus="Iris", kingdom="Viridiplantae")[1]["family"] == "Iridaceae"
    assert ask(resolver, genus="Iris", phylum="Arthropoda")[1]["order"] == "Mantodea"
    known = {"phylum": "Mollusca", "genus": "Iris"}
    assert ask(resolver, **known) == (Status.CONTRADICTED, known, None)


def test_an_unknown_species_is_placed_by_its_genus_and_kept(cache: Path) -> None:
    status, ranks, common = ask(open_files(cache, f"table:{TAXA}"), species="Anas nix")
    assert (status, ranks["family"], ranks["species"], common) == (Status.PLACED, "Anatidae", "Anas nix", None)
    status, ranks, _ = ask(open_files(cache, f"table:{TAXA}"), species="Iris nix")
    assert (status, ranks) == (Status.UNKNOWN, {"species": "Iris nix"})
    status, ranks, _ = ask(open_files(cache, f"table:{TAXA}"), species="Himantopus leucocephalus nix")  # of a synonym
    assert (status, ranks["family"], "genus" in ranks) == (Status.PLACED, "Recurvirostridae", False)


def test_a_higher_name_in_the_species_column_goes_where_it_belongs(cache: Path) -> None:
    status, ranks, _ = ask(open_files(cache, f"table:{TAXA}"), species="Anatidae")
    assert (status, ranks["family"], "species" in ranks) == (Status.RESOLVED, "Anatidae", False)


def test_the_first_file_that_knows_a_name_decides(tmp_path: Path, cache: Path) -> None:
    a = write(tmp_path / "a.csv", "name,kingdom,family,common,language\nAus bus,Animalia,Aidae,first,en\n")
    b = write(tmp_path / "b.csv", "name,kingdom,family,common,language\nAus bus,Animalia,Bidae,second,en\n")
    c = write(tmp_path / "c.tsv", "scientific_name\tvernacular_name\nAus bus\tthird\n")
    assert ask(open_files(cache, f"table:{a}", f"table:{b}"), species="Aus bus")[2] == "first"
    resolver = open_files(cache, f"table:{c}", f"table:{b}", f"table:{a}")
    assert ask(resolver, species="Aus bus")[1]["family"] == "Bidae"
    assert ask(resolver, species="Aus bus")[2] == "third"  # a name in no stated language


def test_tables_may_be_parquet_and_lack_ranks(tmp_path: Path, cache: Path) -> None:
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"Genus": ["Aus"], "Species": ["bus"], "Family": ["Aidae"]}), tmp_path / "t.parquet")
    resolver = open_files(cache, f"table:{tmp_path / 't.parquet'}")
    assert ask(resolver, species="Aus bus")[1] == {"family": "Aidae", "genus": "Aus", "species": "Aus bus"}


OPEN = """
from pathlib import Path
from shardforge.errors import SourceError
from shardforge.taxonomy.names import NamesChoice, open_names, parse_names_file
try:
    open_names(NamesChoice((parse_names_file("table:" + sys.argv[1]),)))
except SourceError as error:
    print(error)
"""


def test_a_parsed_file_is_kept_until_it_changes_or_is_damaged(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "a.csv", "name,kingdom,common\nAus bus,Animalia,one\n")
    assert ask(open_files(cache, f"table:{file}"), species="Aus bus")[2] == "one"
    [kept] = (cache / "names").iterdir()
    first = kept.stat().st_mtime_ns
    open_files(cache, f"table:{file}")
    assert kept.stat().st_mtime_ns == first
    content = bytearray(kept.read_bytes())
    for damaged in (content[: len(content) // 2], content[:200] + b"x" + content[201:], b"", without_metadata(content)):
        kept.write_bytes(damaged)
        assert ask(open_files(cache, f"table:{file}"), species="Aus bus")[2] == "one"
        assert kept.read_bytes() == content
    write(file, "name,kingdom,common\nAus bus,Animalia,other\n")
    assert ask(open_files(cache, f"table:{file}"), species="Aus bus")[2] == "other"
    assert [kept] == list((cache / "names").iterdir())


def test_the_environment_places_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = write(tmp_path / "a.csv", "name,kingdom\nAus bus,Animalia\n")
    monkeypatch.delenv("SHARDFORGE_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    open_names(NamesChoice((parse_names_file(f"table:{file}"),)))
    monkeypatch.setenv("SHARDFORGE_CACHE", str(tmp_path / "own"))
    open_names(NamesChoice((parse_names_file(f"table:{file}"),)))
    assert len([*tmp_path.glob("xdg/shardforge/names/*"), *tmp_path.glob("own/names/*")]) == 2


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("t.csv", "a,b\n1,2\n", "has the columns a, b; expected some of"),
        ("t.csv", "common_name\nduck\n", "neither a scientific name nor a rank"),
        ("t.csv", "name,kingdom\nAus,bus,cus\n", r"t.csv: a row has 3 columns where 2 are expected \(Aus,bus,cus\)"),
        ("t.tsv", "name,kingdom\nAus,bus\n", r"t.tsv: has columns separated by ','; expected '\\t'"),
        ("t.csv", "name,kingdom\n", "t.csv: has no rows"),
        ("t.csv", "", "t.csv: has no rows; expected a line that names the columns"),
        ("t.csv", "name,kingdom\n,\n,\n", "t.csv: no row has a scientific name or a rank"),
        ("t.csv", f"name,kingdom\nAus,{'x' * 40_000_000}\n", "t.csv: a row is longer than 16 MiB"),
        ("t.txt.gz", "no gzip", "cannot be read"),
        ("t.docx", "", "not a table; expected .csv"),
    ],
)
def test_what_is_no_table_of_names_is_named(tmp_path: Path, cache: Path, name: str, content: str, message: str) -> None:
    file = write(tmp_path / name, content)
    with pytest.raises(SourceError, match=message) as caught:
        open_files(cache, f"table:{file}")
    assert str(caught.value).startswith(f"{file}: ")


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_csv_may_have_semicolons_or_tabs(tmp_path: Path, cache: Path, delimiter: str) -> None:
    rows = [("name", "kingdom", "order"), ("Aus bus", "Animalia", '"Diptera"')]
    file = write(tmp_path / "t.csv", "".join(f"{delimiter.join(row)}\n" for row in rows))
    found = ask(open_files(cache, f"table:{file}"), species="Aus bus")
    assert found[1] == {"kingdom": "Animalia", "order": "Diptera", "species": "Aus bus"}


@pytest.mark.parametrize("text", ["name,kingdom\nAus b\u00e9s,Animalia\n", "name,kingdom,\u00e9\nAus bus,Animalia,\n"])
def test_names_that_are_not_utf8_say_how_to_convert_them(tmp_path: Path, cache: Path, text: str) -> None:
    file = tmp_path / "t.csv"
    file.write_text(text, encoding="latin-1")
    with pytest.raises(SourceError, match="not UTF-8 text; convert it, for instance by iconv -f latin1") as caught:
        open_files(cache, f"table:{file}")
    assert str(caught.value).startswith(f"{file}: ")


def zip_taxa(file: Path, compression: int) -> bytearray:
    """Write an archive of one table of taxa and return its bytes."""
    with zipfile.ZipFile(file, "w", compression) as archive:
        archive.writestr("taxon.tab", EOL_TAXA)
    return bytearray(file.read_bytes())


@pytest.mark.parametrize("compression", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_zip_with_a_damaged_member_is_named(tmp_path: Path, cache: Path, compression: int) -> None:
    file = tmp_path / "t.zip"
    content = zip_taxa(file, compression)
    for place in range(54, 96, 3):  # behind the headers, of the zip and of the compression
        file.write_bytes(content[:place] + b"\xff\xff\xff" + content[place + 3 :])
        with pytest.raises(SourceError, match=r"t.zip(/taxon.tab)?: .*(damaged|has the columns|not UTF-8)"):
            open_files(cache, f"dwca:{file}")


@pytest.mark.parametrize(
    ("local", "central", "value", "message"), [(6, 8, 1, "is encrypted"), (8, 10, 98, "compression method")]
)
def test_a_zip_that_cannot_be_unpacked_is_named(
    tmp_path: Path, cache: Path, local: int, central: int, value: int, message: str
) -> None:
    file = tmp_path / "t.zip"
    content = zip_taxa(file, zipfile.ZIP_STORED)
    content[local] = content[content.index(b"PK\x01\x02") + central] = value
    file.write_bytes(content)
    with pytest.raises(SourceError, match=rf"t.zip: cannot be unpacked here \(.*{message}.*\); unpack it"):
        open_files(cache, f"dwca:{file}")


def test_names_without_permission_are_named(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "t.csv", "name\nAus bus\n")
    open_to_all(tmp_path)
    for place, text in ((file, file), (tmp_path, file), (tmp_path, tmp_path)):
        mode = place.stat().st_mode
        place.chmod(0)
        found = as_nobody(OPEN, text)
        place.chmod(mode)
        assert "not readable (permission denied); ask its owner" in found.stdout, (place, text, found)


@pytest.mark.parametrize("name", ["mynames.csv", "nodes.csv", "nodes.dmp"])
def test_a_file_that_is_no_whole_taxonomy_dump_is_named(tmp_path: Path, cache: Path, name: str) -> None:
    file = write(tmp_path / name, dump([(1, 1, "no rank")]))
    with pytest.raises(SourceError, match=rf"{name}: has no \w+.dmp; expected the folder or archive"):
        open_files(cache, f"ncbi:{file}")


@pytest.mark.parametrize("kind", KINDS)
def test_an_archive_without_names_is_named(tmp_path: Path, cache: Path, kind: str) -> None:
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("README.md", "no names")
    with pytest.raises(SourceError, match=r"other.zip: no file of names is in this archive"):
        open_files(cache, f"{kind}:{tmp_path / 'other.zip'}")


def test_unusable_choices_say_what_to_do(tmp_path: Path, cache: Path) -> None:
    file = write(tmp_path / "vernacularnames.csv", EOL_VERNACULARS)
    with pytest.raises(UsageError, match=r"--language xx: no file of names has common names in it; they have de, en"):
        open_files(cache, f"eol:{file}", language="xx")
    with pytest.raises(UsageError, match="expected KIND:PATH with a kind of eol, gbif, dwca, ncbi, table"):
        parse_names_file(str(file))
    with pytest.raises(UsageError, match="no such file or folder"):
        parse_names_file("eol:nowhere")
    with pytest.raises(UsageError, match="no file of names is in this folder"):
        parse_names_file(f"ncbi:{tmp_path}")
    (tmp_path / "taxdump").mkdir()
    write(tmp_path / "taxdump" / "names.dmp", dump([(1, "root", "", "scientific name")]))
    with pytest.raises(SourceError, match=r"has no nodes.dmp"):
        open_files(cache, f"ncbi:{tmp_path / 'taxdump'}")


def test_parents_in_a_circle_are_named(tmp_path: Path, cache: Path) -> None:
    text = "taxonID\tparentNameUsageID\tcanonicalName\ttaxonRank\n1\t2\tAus\tgenus\n2\t1\tBus\tfamily\n"
    with pytest.raises(SourceError, match="the parents of Aus form a circle"):
        open_files(cache, f"dwca:{write(tmp_path / 'taxon.tab', text)}")
