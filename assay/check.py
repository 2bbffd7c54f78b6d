"""A config held against what a run of it needs, before the first step: models, layers, weights, storage, the source.

What a step would refuse after hours is refused here, by the function that the step itself asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.config import DataConfig, ModelConfig, RunConfig
from assay.config.schemes import scheme_of
from assay.errors import AssayError, InputError

# Enough to see whether a source has one size of image.
_HEADERS_READ = 24


@dataclass(frozen=True)
class Known:
    """What is known of a source without reading it.

    Attributes:
        classes: How many there are; 0 where that is not known.
        shape: Of what a network is shown, (H, W, C) or (T, C); None where that is not known.
    """

    classes: int = 0
    shape: tuple[int, ...] | None = None


def check_config(config: RunConfig, *, here: bool = True, image: bool = False, known: Known | None = None) -> list[str]:
    """Return what is wrong with a config, one line each; empty where a run of it can begin.

    Args:
        config: The resolved config.
        here: Whether the run is on this machine: then storage must be writable, weights obtainable, and a local source
            is listed (its names are read, its files are not).
        image: Whether the steps run in containers, which bring ImageNet weights along.
        known: From `look_at_source`, where that has been asked already.
    """
    found: list[str] = []
    with_source: list[str] = []
    if known is None:
        known = _noted(with_source, lambda: look_at_source(config.data, listed=here))
    if known is None:
        known = Known(shape=_asked_shape(config.data))
    for look in (
        lambda: _check_storage(config, here=here),
        *(_candidate(name, model, config, known) for name, model in _models(config)),
        *([lambda: _check_search(config, known)] if config.search.enabled else []),
        *([lambda: _check_finetune(config)] if config.finetune.enabled else []),
        *([lambda: _check_weights(config, image=image)] if here else []),
        lambda: _check_policy(config, known),
    ):
        _noted(found, look)
    return [*dict.fromkeys([*found, *with_source])]


def require_config(config: RunConfig, *, here: bool = True, image: bool = False) -> None:
    """Raise unless a run of a config can begin; see `check_config`.

    Raises:
        InputError: The first thing that is wrong, and how many more there are.
    """
    found = check_config(config, here=here, image=image)
    if found:
        more = f" (and {len(found) - 1} more: `assay config check` lists them)" if len(found) > 1 else ""
        raise InputError(f"{found[0]}{more}")


def look_at_source(data: DataConfig, *, listed: bool = True) -> Known:
    """Return what a source's names tell, once they speak against nothing.

    Args:
        data: The source and how it is read.
        listed: List it, where that costs little: a local folder, or generated data.

    Raises:
        InputError: There is no such source, its names forbid to train, or the classes named are not there.
    """
    from assay.data.classes import choose_classes, positive_index
    from assay.data.sources import open_source

    shape = _asked_shape(data)
    scheme = scheme_of(data.source)
    if scheme not in (None, "demo") or not listed:
        if scheme is not None:
            open_source(data.source, data)
        return Known(shape=shape)
    source = open_source(data.source, data)
    listing = source.listing()
    chosen = choose_classes(source.uri, listing, data)
    if chosen.listing.refusals:
        raise InputError(chosen.listing.refusals[0])
    if len(chosen.classes) < 2:
        only = f" ('{chosen.classes[0]}')" if chosen.classes else ""
        raise InputError(f"{source.uri}: one class only{only}. A classifier needs two: add examples of another class.")
    positive_index(data, chosen.classes)
    return Known(len(chosen.classes), shape or _usual_shape(source, chosen.listing.entries, data))


def _noted(found: list[str], look: Callable[[], Any]) -> Any:
    """Return what a look gives; what it raises goes to the list."""
    try:
        return look()
    except AssayError as error:
        found.append(str(error))
    return None


def _models(config: RunConfig) -> Iterator[tuple[str, ModelConfig]]:
    """Yield the models that a run builds, each with the key that names it."""
    if config.baseline.enabled:
        yield "baseline", config.baseline.model
    if config.finetune.enabled:
        yield "finetune", config.finetune.model
    if config.augment.ablation.enabled and config.data.kind == "image":
        yield "augment.ablation", ModelConfig(name=config.augment.ablation.model)


def _candidate(key: str, model: ModelConfig, config: RunConfig, known: Known) -> Callable[[], None]:
    def check() -> None:
        from assay.models.catalog import check_classes, check_input, check_options, find_model

        try:
            entry = find_model(model.name)
            check_options(model.name, model.options)
            if entry.kind != config.data.kind:
                takes = "images" if entry.kind == "image" else "sensor windows"
                raise InputError(
                    f"model {entry.name}: it takes {takes}, data.kind is {config.data.kind}. Choose another model "
                    "(`assay models list`), or correct data.kind."
                )
            if known.shape is not None:
                check_input(model.name, known.shape, model.options)
            if known.classes:
                check_classes(model.name, known.classes, model.output)
        except InputError as error:
            raise InputError(f"{key}.model: {error}") from error

    return check


def _check_search(config: RunConfig, known: Known) -> None:
    from assay.search.space import resolve_space

    if known.shape is not None:
        # How many examples the training split will hold is not known yet: no batch is too large.
        resolve_space(config.search, known.shape, images=2**31)
    elif config.search.hypermodel == "vgg16_head" and config.data.kind == "sensor":
        resolve_space(config.search, (2**20, 1), images=2**31)


def _check_finetune(config: RunConfig) -> None:
    from assay.models.catalog import find_model
    from assay.models.transfer import base_layer_names, layer_index

    finetune = config.finetune
    if finetune.frozen.epochs == finetune.epochs == 0:
        raise InputError("finetune.frozen.epochs and finetune.epochs are both 0. Give at least one phase an epoch.")
    if finetune.unfreeze_from is not None and finetune.epochs:
        name = find_model(finetune.model.name).name
        try:
            layer_index(name, base_layer_names(name, finetune.model.options), finetune.unfreeze_from)
        except InputError as error:
            raise InputError(f"finetune.unfreeze_from: {error}") from error


def _check_weights(config: RunConfig, *, image: bool) -> None:
    from assay.models.catalog import find_model
    from assay.models.weights import require_weights

    wanted = []
    if config.finetune.enabled:
        wanted.append(("finetune.weights", find_model(config.finetune.model.name).name, config.finetune.weights))
    if config.search.enabled and config.search.hypermodel == "vgg16_head":
        wanted.append(("search.weights", "vgg16", config.search.weights))
    for key, name, weights in wanted:
        if image and weights == "imagenet":
            continue
        try:
            require_weights(name, weights)
        except AssayError as error:
            raise type(error)(f"{key}: {error}") from error


def _check_storage(config: RunConfig, *, here: bool) -> None:
    root, cache = config.storage.root, config.runtime.cache_dir
    if cache is not None and scheme_of(cache) is not None:
        raise InputError(f"runtime.cache_dir: a folder of the machine that trains. Received: {cache}. Give a path.")
    if scheme_of(root) is None and here:
        require_writable(Path(root).expanduser(), "storage.root")


def require_writable(folder: Path, key: str) -> None:
    """Raise unless a folder can be written, or made where it is not there yet.

    Raises:
        InputError: It is a file, or lies where nothing may be written.
    """
    nearest = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not nearest.is_dir():
        raise InputError(f"{key}: {nearest} is a file, not a folder. Received: {folder}. Name another place.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(f"{key}: {nearest} may not be written. Received: {folder}. Change its mode, or name another.")


def _check_policy(config: RunConfig, known: Known) -> None:
    from assay.augmentation.augment import check_sensor
    from assay.augmentation.warp import check_fits

    if config.data.kind == "sensor":
        check_sensor(config.augment.policy)
        return
    channels = 3 if config.data.color_mode == "rgb" else 1
    height, width = known.shape[:2] if known.shape is not None else (64, 64)
    check_fits(config.augment.policy, (height, width, channels))


def _asked_shape(data: DataConfig) -> tuple[int, ...] | None:
    """Return the shape that the config asks for, or None where the source decides."""
    if data.kind != "image" or data.image_size is None:
        return None
    return (*data.image_size, 3 if data.color_mode == "rgb" else 1)


def _usual_shape(source: Any, entries: Any, data: DataConfig) -> tuple[int, ...] | None:
    """Return the shape of what a source holds where a few of its files, taken evenly, have all the same."""
    from assay.data.headers import read_header
    from assay.data.sensors import decode_window
    from assay.data.unusable import Unusable

    shapes: set[tuple[int, ...]] = set()
    for entry in entries[:: max(1, len(entries) // _HEADERS_READ)]:
        try:
            content = source.read(entry)
            if data.kind == "sensor":
                steps, channels = decode_window(content).shape
                shapes.add((steps, channels * (2 if data.missing_mask else 1)))
            else:
                header = read_header(content)
                shapes.add((header.height, header.width, 3 if data.color_mode == "rgb" else 1))
        except (Unusable, OSError):
            continue
    return shapes.pop() if len(shapes) == 1 else None
