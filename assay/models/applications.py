"""Every backbone of ``keras.applications`` by name, each with the preprocessing that it was trained with."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from assay.errors import InputError
from assay.models.catalog import ModelOptions, Spec, register
from assay.models.heads import output_layer, pooled_head
from assay.models.preprocessing import BackboneMode, BackbonePreprocessing, preprocess


@dataclass(frozen=True)
class Backbone:
    """One network of ``keras.applications``.

    Attributes:
        constructor: Name of its class there.
        module: Name of its module there, which holds its ``preprocess_input``.
        mode: What that function does.
        least_side: The smallest height and width, pixels, that leave something after its last stride.
    """

    constructor: str
    module: str
    mode: BackboneMode
    least_side: int = 32


BACKBONES: dict[str, Backbone] = {
    "vgg16": Backbone("VGG16", "vgg16", "caffe"),
    "vgg19": Backbone("VGG19", "vgg19", "caffe"),
    "inception_v3": Backbone("InceptionV3", "inception_v3", "tf", 75),
    "inception_resnet_v2": Backbone("InceptionResNetV2", "inception_resnet_v2", "tf", 75),
    "xception": Backbone("Xception", "xception", "tf", 71),
    **{f"resnet{depth}": Backbone(f"ResNet{depth}", "resnet", "caffe") for depth in (50, 101, 152)},
    **{f"resnet{depth}_v2": Backbone(f"ResNet{depth}V2", "resnet_v2", "tf") for depth in (50, 101, 152)},
    **{f"densenet{depth}": Backbone(f"DenseNet{depth}", "densenet", "torch") for depth in (121, 169, 201)},
    "mobilenet": Backbone("MobileNet", "mobilenet", "tf"),
    "mobilenet_v2": Backbone("MobileNetV2", "mobilenet_v2", "tf"),
    "mobilenet_v3_small": Backbone("MobileNetV3Small", "mobilenet_v3", "included"),
    "mobilenet_v3_large": Backbone("MobileNetV3Large", "mobilenet_v3", "included"),
    "nasnet_mobile": Backbone("NASNetMobile", "nasnet", "tf"),
    "nasnet_large": Backbone("NASNetLarge", "nasnet", "tf"),
    **{f"efficientnet_b{size}": Backbone(f"EfficientNetB{size}", "efficientnet", "included") for size in range(8)},
    **{
        f"efficientnet_v2_{size.lower()}": Backbone(f"EfficientNetV2{size}", "efficientnet_v2", "included")
        for size in ("B0", "B1", "B2", "B3", "S", "M", "L")
    },
    **{
        f"convnext_{size.lower()}": Backbone(f"ConvNeXt{size}", "convnext", "included")
        for size in ("Tiny", "Small", "Base", "Large", "XLarge")
    },
}


class BackboneOptions(ModelOptions):
    """Options of the pooled head on a backbone; initializer and L2 are of the head alone."""

    preprocessing: BackbonePreprocessing = Field(
        "backbone", description="backbone: as it was trained; rescale, standardize, none: to compare"
    )
    dense: int = Field(0, ge=0, le=65_536, description="units before the output; 0: none")
    dropout: float = Field(0.5, ge=0, lt=1, description="fraction dropped before the output")


def backbone_fits(name: str, input_shape: tuple[int, ...], options: object) -> None:
    """Check that an image is large enough for a backbone.

    Raises:
        InputError: It is not; the least size is named.
    """
    least, sides = BACKBONES[name].least_side, input_shape[:2]
    if min(sides) < least:
        raise InputError(
            f"model {name}: an input of {sides[0]}x{sides[1]} is too small, its last strided layer would be left "
            f"with nothing. Give at least {least}x{least}, or a smaller network."
        )


def backbone_features(inputs: Any, spec: Spec, how: BackbonePreprocessing) -> Any:
    """Return the last feature map of `backbone`: (N, height, width, channels), a Keras tensor."""
    return backbone(inputs, spec, how).output


def backbone(inputs: Any, spec: Spec, how: BackbonePreprocessing) -> Any:
    """Build a backbone without its head, flat in the graph, on its preprocessing.

    Args:
        inputs: Raw pixels (N, height, width, 1 or 3).
        spec: Its name says which backbone.
        how: The preprocessing.

    Returns:
        A ``keras.Model`` from the pixels to the last feature map, with the layer names of ``keras.applications``.
    """
    import keras

    known = BACKBONES[spec.name]
    sides = spec.input_shape[:2]
    x = preprocess(inputs, spec, how, known.mode)
    base = getattr(keras.applications, known.constructor)(
        include_top=False, weights=None, input_tensor=x, input_shape=(*sides, 3)
    )
    _number_from_zero(base.layers)
    return base


def _number_from_zero(layers: list[Any]) -> None:
    """Give layers that Keras named by a running count the names of a first build: conv2d, conv2d_1, ..."""
    counted: dict[str, list[tuple[int, Any]]] = {}
    for layer in layers:
        match = re.fullmatch(r"(.+?)(?:_(\d+))?", layer.name)
        stem = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", type(layer).__name__).lower()
        if match and match[1].replace("_", "") == stem.replace("_", ""):
            counted.setdefault(match[1], []).append((int(match[2] or 0), layer))
    for stem, members in counted.items():
        first = min(number for number, _ in members)
        for number, layer in members:
            layer.name = f"{stem}_{number - first}" if number > first else stem


def _build(inputs: Any, spec: Spec, options: BackboneOptions) -> Any:
    features = backbone_features(inputs, spec, options.preprocessing)
    return output_layer(pooled_head(features, options, options.dense, options.dropout), spec, options)


# VGG and Inception have heads of their own.
for _name, _backbone in BACKBONES.items():
    if _name not in ("vgg16", "vgg19", "inception_v3"):
        register(
            _name,
            family="applications",
            options=BackboneOptions,
            pretrained=True,
            fits=backbone_fits,
            summary=f"{_backbone.constructor} of keras.applications under a pooled head",
        )(_build)
