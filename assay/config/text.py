"""YAML read strictly: a key stands once, names stay the text that they are, and nothing grows beyond its file."""

from __future__ import annotations

import typing
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from assay.config.keys import annotation_at
from assay.errors import InputError, shortened

# A config of every key with its comments has 12 kB and 5 levels.
MOST_BYTES = 1_000_000
MOST_DEPTH = 40
MOST_VALUES = 50_000
LONGEST_NUMBER = 60
_TEXT, _NULL = "tag:yaml.org,2002:str", "tag:yaml.org,2002:null"
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
# libyaml reads a hundred times as fast, and is not everywhere.
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def read_yaml(path: Path, section: type[BaseModel], what: str, hint: str) -> dict[str, Any]:
    """Read a file that holds one mapping.

    Args:
        path: The file.
        section: What the mapping is of; where that wants text, `no`, `1` and `2024-01-01` are text.
        what: What to call it in an error, such as ``config``.
        hint: Where there are such files, for an error.

    Raises:
        InputError: There is no such file, or it is no mapping, or it cannot be read; one line that names the file.
    """
    try:
        if path.exists() and not path.is_file():
            raise InputError(f"{path}: is {'a folder' if path.is_dir() else 'no plain file'}. Name a YAML file.")
        with path.open("rb") as file:
            data = file.read(MOST_BYTES + 1)
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such {what}{' file' * (what == 'config')}. {hint}") from error
    except (OSError, UnicodeDecodeError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{path}: the {what} cannot be read ({reason}). Give a readable UTF-8 YAML file.") from error
    if len(data) > MOST_BYTES:
        raise InputError(f"{path}: has more than {MOST_BYTES:,} bytes. A {what} is a short text: name another file.")
    values = parse_yaml(text, section, str(path))
    if not isinstance(values, dict):
        kind = type(values).__name__
        raise InputError(f"{path}: a {what} is a mapping that begins with `version: 1`. Received: {kind}.")
    return values


def parse_yaml(text: str, annotation: Any, origin: str) -> Any:
    """Return what a YAML text says.

    Args:
        text: One document.
        annotation: The type of what it says, such as a section of the config; see `read_yaml`.
        origin: What to call it in an error.

    Raises:
        InputError: It is no YAML, repeats a key, or nests, repeats or counts beyond all use.
    """
    try:
        _check_depth(text, origin)
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _check_node(node, origin)
            _keep_text(node, annotation)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
        where = f"line {mark.line + 1}: {problem}" if mark and problem else str(error)
        raise InputError(f"{origin}: not valid YAML ({shortened(where)}). Mend that line.") from error
    except (ValueError, RecursionError, OverflowError) as error:
        # A date of month 13, say.
        raise InputError(f"{origin}: holds a value that is none ({shortened(error)}). Quote it, or mend it.") from error


def _check_depth(text: str, origin: str) -> None:
    """Raise where a text nests too deeply to be put together: that is done by recursion, the reading is not."""
    depth = 0
    for event in yaml.parse(text, Loader=_Loader):
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MOST_DEPTH:
                line = event.start_mark.line + 1 if event.start_mark else "?"
                raise InputError(
                    f"{origin}: line {line} is nested more than {MOST_DEPTH} levels deep, which "
                    "no config is. Mend its brackets."
                )
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1


def _check_node(root: Node, origin: str) -> None:
    """Raise where a key is repeated, an alias holds itself, or values are too many or too long."""
    sizes: dict[int, int] = {}
    open_nodes: set[int] = set()

    def size_of(node: Node) -> int:
        key, line = id(node), node.start_mark.line + 1
        if key in open_nodes:
            raise InputError(f"{origin}: line {line} holds an alias of itself. Write the value out.")
        if key in sizes:
            return sizes[key]
        open_nodes.add(key)
        size = 1
        if isinstance(node, ScalarNode):
            if node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
                raise InputError(
                    f"{origin}: line {line} holds a number of {len(node.value):,} characters "
                    f"({node.value[:12]}...). Shorten it, or quote it where it is a name."
                )
        elif isinstance(node, SequenceNode):
            size += sum(size_of(member) for member in node.value)
        elif isinstance(node, MappingNode):
            _check_keys(node, origin)
            size += sum(size_of(name) + size_of(value) for name, value in node.value)
        if size > MOST_VALUES:
            raise InputError(
                f"{origin}: line {line} stands for more than {MOST_VALUES:,} values, aliases written out. "
                "A config is a short text: remove the aliases."
            )
        open_nodes.remove(key)
        sizes[key] = size
        return size

    size_of(root)


def _check_keys(node: MappingNode, origin: str) -> None:
    lines: dict[str, int] = {}
    for name, _ in node.value:
        if not isinstance(name, ScalarNode) or name.tag == "tag:yaml.org,2002:merge":
            continue
        line = name.start_mark.line + 1
        if name.value in lines:
            raise InputError(
                f"{origin}: the key '{shortened(name.value, 80)}' stands twice, on line {lines[name.value]} and on "
                f"line {line}. Keep one of them."
            )
        lines[name.value] = line


def _keep_text(node: Node, annotation: Any) -> None:
    """Tag plain scalars as text where text is wanted: YAML takes `no` for false and `1` for a number."""
    if isinstance(node, ScalarNode):
        if _wants_text(annotation) and not (node.tag == _NULL and _may_be_none(annotation)):
            node.tag = _TEXT
    elif isinstance(node, SequenceNode):
        member = _member_of(annotation)
        for item in node.value:
            _keep_text(item, member)
    elif isinstance(node, MappingNode):
        for name, value in node.value:
            if isinstance(name, ScalarNode):
                name.tag = name.tag if name.tag == "tag:yaml.org,2002:merge" else _TEXT
                _keep_text(value, annotation_at(annotation, name.value))


def _choices(annotation: Any) -> list[Any]:
    """Return what an annotation may be: the members of a union, else the annotation itself."""
    arguments = typing.get_args(annotation)
    return list(arguments) if type(None) in arguments else [annotation]


def _wants_text(annotation: Any) -> bool:
    return [choice for choice in _choices(annotation) if choice is not type(None)] == [str]


def _may_be_none(annotation: Any) -> bool:
    return type(None) in _choices(annotation)


def _member_of(annotation: Any) -> Any:
    for choice in _choices(annotation):
        if typing.get_origin(choice) in (tuple, list):
            return typing.get_args(choice)[0]
    return Any
