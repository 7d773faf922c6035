"""Options of the command line from the fields of a dataclass, and the command that takes them.

A field is written once, with its default and its help; its type decides how the option is read. A tuple takes all
words up to the next option (`--data-path a b c`), as argparse has it and as training recipes are written.
"""

from __future__ import annotations

import dataclasses
import json
import tomllib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin, get_type_hints

import click

from shardforge.endings import one_line_errors
from shardforge.errors import UsageError
from shardforge.train.recipe.numbers import Number

Settings = TypeVar("Settings")

#: Config files of published recipes that come with the package, by name.
RECIPES = {path.stem: path for path in sorted((Path(__file__).parent / "files").glob("*.toml"))}


def flag(
    default: Any,
    help: str,
    *,
    choices: Sequence[str] | None = None,
    least: float | None = None,
    most: float | None = None,
    also: str | None = None,
    argument: bool = False,
) -> Any:
    """Return a dataclass field that is an option.

    `least` and `most` are the bounds of a number, `also` another spelling of the option; with `argument` it is the word
    that stands alone, without the name of an option.
    """
    metadata = {"help": help, "choices": choices, "bounds": (least, most), "also": also, "argument": argument}
    return dataclasses.field(default=default, metadata=metadata)


def name_option(field: str) -> str:
    """Return how a field is written on the command line."""
    return "--" + field.replace("_", "-")


def make_command(name: str, settings: type[Settings], run: Callable[[Settings], None], help: str) -> click.Command:
    """Return the command that calls `run` with the settings that its options give."""

    def call(config: str | None, print_config: bool, **values: Any) -> None:
        chosen = settings(**values)
        if print_config:
            click.echo(dump_settings(chosen))
        else:
            run(chosen)

    hints = get_type_hints(settings)
    options = [_make_option(field, hints[field.name]) for field in dataclasses.fields(settings)]  # type: ignore[arg-type]
    shared = [
        click.Option(
            ["--config"],
            type=click.Path(dir_okay=False),
            is_eager=True,
            callback=_read_defaults,
            help="TOML or JSON file with values of these options, named as here, or a recipe that comes with the "
            "package; the command line wins.",
        ),
        click.Option(["--print-config"], is_flag=True, help="Print the resolved options as JSON, and end."),
    ]
    context = {"help_option_names": ["-h", "--help"], "max_content_width": 110}
    return _Command(name, params=[*options, *shared], callback=call, help=help, context_settings=context)


def dump_settings(settings: Any) -> str:
    """Return settings as the JSON that `--config` reads."""
    return json.dumps(dataclasses.asdict(settings), indent=2)


class _Command(click.Command):
    """A command whose repeatable options take several words, and in which what goes wrong is one line."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        many = {spelling for option in self.params if getattr(option, "multiple", False) for spelling in option.opts}
        return super().parse_args(ctx, list(_repeat_names(args, many)))

    def make_context(self, *arguments: Any, **options: Any) -> click.Context:
        with one_line_errors():
            return super().make_context(*arguments, **options)

    def invoke(self, ctx: click.Context) -> Any:
        with one_line_errors():
            return super().invoke(ctx)


def _repeat_names(words: Sequence[str], many: set[str]) -> Iterable[str]:
    """Yield `--name a --name b` for `--name a b`, where the option takes many words."""
    name = None
    given = False
    for word in words:
        if word.startswith("--"):
            name, given = (word, False) if word in many else (None, False)
            yield word
        else:
            if name is not None and given:
                yield name
            given = True
            yield word


def _make_option(field: dataclasses.Field[Any], hint: Any) -> click.Parameter:
    if field.metadata["argument"]:
        return click.Argument([field.name])
    spellings = [name_option(field.name), *([field.metadata["also"]] if field.metadata["also"] else [])]
    several = get_origin(hint) is tuple
    kind = get_args(hint)[0] if several else next((part for part in get_args(hint) if part is not NoneType), hint)
    required = field.default is dataclasses.MISSING or field.default is ...
    shown = not required and field.default not in (None, False, ())
    default: dict[str, Any] = {} if required else {"default": field.default}  # to click, None is a value that is given
    return click.Option(
        [*spellings, field.name],
        type=_option_type(kind, field),
        is_flag=kind is bool,
        multiple=several,
        metavar=_name_many(kind, field) if several else None,
        required=required,
        show_default=shown,
        help=field.metadata["help"],
        **default,
    )


def _name_many(kind: Any, field: dataclasses.Field[Any]) -> str:
    """Return how the help shows what an option takes several of."""
    choices = field.metadata["choices"]
    return f"[{'|'.join(choices)}]..." if choices else {str: "TEXT", int: "INTEGER", float: "FLOAT"}[kind] + "..."


def _option_type(kind: Any, field: dataclasses.Field[Any]) -> Any:
    if field.metadata["choices"]:
        return click.Choice(field.metadata["choices"])
    return Number(kind, *field.metadata["bounds"]) if kind in (int, float) else kind


def _as_click_has_it(option: click.Parameter, value: Any) -> Any:
    """Return the value of an option in a file; one alone may stand for a list of one."""
    return [value] if option.multiple and not isinstance(value, list) else value


def _read_defaults(ctx: click.Context, _: click.Parameter, path: str | None) -> str | None:
    """Let the values of a file stand for options that the command line does not give."""
    if path is None:
        return None
    if path in RECIPES:
        path = str(RECIPES[path])
    try:
        text = Path(path).read_text(encoding="utf-8")
        values = json.loads(text) if path.endswith(".json") else tomllib.loads(text)
    except OSError as error:
        raise UsageError(
            f"{path}: cannot be read ({error.strerror}); name an existing file, or one of {', '.join(RECIPES)}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{path}: not {'JSON' if path.endswith('.json') else 'TOML'} ({error}); mend it") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path}: holds no names with values; write it as --print-config prints it")
    values = {name.replace("-", "_"): value for name, value in values.items()}
    known = {option.name: option for option in ctx.command.params if option.name not in ("config", "print_config")}
    if unknown := sorted(values.keys() - known.keys()):
        raise UsageError(f"{path}: {unknown[0]} is no option of this program; see --help for their names")
    ctx.default_map = {name: _as_click_has_it(known[name], value) for name, value in values.items()}
    return path
