"""Every command that a document or the header of a config names exists, with its options, targets and variables."""

from __future__ import annotations

import itertools
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from assay.config import explain_keys
from assay.errors import InputError
from pipelines.cli.main import app

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("components/*/README.md"), *ROOT.glob("docker/*.md")]
)
HEADERS = sorted(ROOT.glob("pipelines/**/*.yaml"))
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")


def code(path: Path) -> Iterator[str]:
    """Yield the pieces of a file that are code: lines of fenced blocks and spans, or the command of a header."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".yaml":
        yield from re.findall(r"^# Command: +(.+)$", text, re.MULTILINE)
        return
    blocks = re.findall(r"^ *```\w*\n(.*?)^ *```", text, re.MULTILINE | re.DOTALL)
    for block in blocks:
        yield from block.replace("\\\n", " ").splitlines()
    prose = re.sub(r"^ *```.*?^ *```", "", text, flags=re.MULTILINE | re.DOTALL)
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


def commands(line: str) -> Iterator[list[str]]:
    """Yield the calls of ``assay`` and ``make`` in a line of a shell, as words, without what is set before them."""
    for part in re.split(r"&&|\||;", re.sub(r"(^|\s)#.*$", "", line)):
        try:
            words = shlex.split(part)
        except ValueError:  # a line of another language
            continue
        words = list(itertools.dropwhile(lambda word: re.match(r"^[A-Z_]+=", word), words))
        if len(words) > 1 and Path(words[0]).name in ("assay", "make"):
            yield [Path(words[0]).name, *words[1:]]


def problem(words: list[str]) -> str:
    """Return what is wrong with a call, or nothing."""
    return _of_make(words[1:]) if words[0] == "make" else _of_assay(words[1:])


def _of_make(words: list[str]) -> str:
    for word in words:
        variable, is_set, _ = word.partition("=")
        if is_set:
            if not re.search(rf"\$\(({variable})\)|\b{variable} \?=|{variable}=", MAKEFILE):
                return f"the Makefile knows no {variable}"
        elif re.fullmatch(r"[a-z][\w-]*", word) and not re.search(rf"^{word}:", MAKEFILE, re.MULTILINE):
            return f"the Makefile has no target {word}"
    return ""


def _of_assay(words: list[str]) -> str:
    command: Any = typer.main.get_command(app)
    rest = iter(words)
    while hasattr(command, "commands"):
        word = next(rest, "")
        if not word or word.startswith("-"):
            return "" if word in ("", "-h", "--help") else f"no option {word} before a command"
        if word not in command.commands:
            return f"no command {word}"
        command = command.commands[word]
    options = {name: option for option in command.params for name in option.opts if name.startswith("-")}
    arguments = [parameter for parameter in command.params if parameter.param_type_name == "argument"]
    given = 0
    for word in rest:
        name, joined, _ = word.partition("=")
        if name.startswith("-"):
            if name not in options and name not in ("-h", "--help"):
                return f"{command.name} has no option {name}"
            if name in options and not options[name].is_flag and not joined:
                next(rest, "")
            continue
        if not arguments:
            return f"{command.name} takes no argument, such as {word}"
        argument = arguments[min(given, len(arguments) - 1)]
        if given >= len(arguments) and argument.nargs == 1 and word != "...":
            return f"{command.name} takes {len(arguments)} arguments, and {word} is one more"
        given += 1
        if argument.name == "config" and not re.search(r"\.yaml$|^[A-Z]+$|^\.\.\.$|^<.*>$", word):
            return f"{command.name} takes a config, and {word} is none"
        if argument.name == "key":
            try:
                explain_keys(word)
            except InputError as error:
                return str(error)
    return ""


@pytest.mark.parametrize("path", [*PAGES, *HEADERS], ids=lambda path: str(path.relative_to(ROOT)))
def test_every_command_that_is_named_exists(path: Path) -> None:
    wrong = {" ".join(words): problem(words) for line in code(path) for words in commands(line) if problem(words)}
    assert not wrong


def test_the_commands_of_the_readme_are_found() -> None:
    found = [" ".join(words) for line in code(ROOT / "README.md") for words in commands(line)]
    assert "make run" in found
    assert "assay data inspect path/to/images" in found
    assert "make load IMAGES=cpu" not in found and "make images load IMAGES=cpu" in found


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("assay config show search", "search is none"),
        ("assay config explain finetun", "finetune"),
        ("assay registry roll-back tiny", "no command roll-back"),
        ("assay run my.yaml --weight w.h5", "no option --weight"),
        ("assay registry list a b", "b is one more"),
        ("X=1 make trian", "no target trian"),
        ("make run CONFG=my.yaml", "knows no CONFG"),
    ],
)
def test_a_command_that_does_not_exist_is_told(line: str, said: str) -> None:
    (words,) = commands(line)
    assert said in problem(words)
