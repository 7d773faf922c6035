"""Statistics as Markdown: the generated parts of a card that say what the images are."""

from __future__ import annotations

from typing import Any

from shardforge.catalog.markdown import make_table
from shardforge.catalog.statistics import Statistics

_MOST_ROWS = 20


def describe_images(found: Statistics, *, labelled: bool) -> dict[str, str]:
    """Return the parts taxa, class_sizes, image_sizes and licences of a card, from figures of `OF_IMAGES`.

    `labelled` says that the dataset has classes; the sizes are else those that labels or species would make.
    """
    return {
        "taxa": _describe_taxa(found),
        "class_sizes": _describe_class_sizes(found, labelled=labelled),
        "image_sizes": _describe_image_sizes(found),
        "licences": _describe_licences(found["licences"]),
    }


def _describe_taxa(found: Statistics) -> str:
    named = [row for row in found["ranks"] if row["images"] or row["lowest_known"]]
    if not any(row["images"] for row in named):
        return "The taxa of these images are not known."
    pieces = [
        make_table(
            ("rank", "images", "share", "taxa", "lowest known", "gaps"),
            _cells(named, ("rank", "images", "percent", "taxa", "lowest_known", "gaps")),
        ),
        "*Lowest known* counts the images that are named down to this rank and no further, *gaps* those without this "
        "rank that have a lower one.",
        make_table(
            ("kingdom", "images", "share", "phyla", "classes", "orders", "families", "genera", "species"),
            [[row["kingdom"] or "(unknown)", *list(row.values())[1:]] for row in found["kingdoms"][:_MOST_ROWS]],
        ),
    ]
    if found["rank_gaps"]:
        gaps = _cells(found["rank_gaps"][:_MOST_ROWS], ("missing", "images", "lineages", "example"))
        pieces.append(make_table(("missing ranks", "images", "lineages", "for example"), gaps))
    return "\n\n".join(pieces)


def _describe_class_sizes(found: Statistics, *, labelled: bool) -> str:
    if not found["balance"]:
        return "The images have no classes."
    [balance] = found["balance"]
    columns = ("class_size", "classes", "images", "percent_up_to_here")
    subject = "The" if labelled else "No classes are stored. By label, or else species, the"
    return "\n\n".join(
        [
            f"{subject} {balance['classes']:,} classes have between {balance['smallest']:,} and {balance['largest']:,} "
            f"images, half of them at most {balance['median']:,}. {balance['percent_below_5']:.1f}% have fewer than 5 "
            f"images, {balance['percent_below_10']:.1f}% fewer than 10, {balance['percent_below_50']:.1f}% fewer than "
            f"50. The largest tenth of the classes holds {balance['percent_in_largest_tenth']:.1f}% of the images "
            f"(Gini coefficient {balance['gini']:.2f}).",
            make_table(
                ("images in a class", "classes", "images", "classes up to this size"),
                _cells(found["class_sizes"], columns),
            ),
        ]
    )


def _describe_image_sizes(found: Statistics) -> str:
    if not found["shorter_sides"]:
        return "The sizes of the images are not known."
    header = ("shorter side in pixels", "images", "share")
    return make_table(header, _cells(found["shorter_sides"], ("shorter_side", "images", "percent")))


def _describe_licences(licences: list[dict[str, Any]]) -> str:
    pieces = [
        make_table(
            ("licence", "images", "share", "may be passed on", "commercially", "changed", "author must be named"),
            [
                [
                    name_licence(row),
                    row["images"],
                    row["percent"],
                    *(
                        "not known" if row[right] is None else "yes" if row[right] else "no"
                        for right in ("redistribution", "commercial", "derivatives", "attribution")
                    ),
                ]
                for row in licences[:_MOST_ROWS]
            ],
        )
    ]
    if len(licences) > _MOST_ROWS:
        pieces.append(f"{len(licences) - _MOST_ROWS:,} rarer ones are not shown.")
    notes = (
        ("are of no known licence: clear them before passing the dataset on.", _count(licences, "licence", None)),
        ("may not be passed on.", _count(licences, "redistribution", False)),
        ("may not be changed, and resizing may count as a change.", _count(licences, "derivatives", False)),
        ("must name an author and none is known.", _count_authorless(licences)),
    )
    pieces += [f"{images:,} images {text}" for text, images in notes if images]
    return "\n\n".join(pieces)


def name_licence(row: dict[str, Any]) -> str:
    """Return the name of a row of `roll_up_licences`; a spelling that is not known is quoted."""
    if row["licence"] is not None:
        return str(row["licence"])
    return f"unknown: {row['as_given'][0]}" if row["as_given"] else "none given"


def _count(licences: list[dict[str, Any]], column: str, value: object) -> int:
    return sum(row["images"] for row in licences if row[column] is value)


def _count_authorless(licences: list[dict[str, Any]]) -> int:
    return sum(row["without_author"] for row in licences if row["attribution"])


def _cells(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> list[list[Any]]:
    return [[row[column] for column in columns] for row in rows]
