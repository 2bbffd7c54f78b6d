"""A network that counts as pretrained and is a thousandth of one: fine-tuning it is as long as its machinery."""

from __future__ import annotations

from typing import Any

from assay.models.applications import BackboneOptions
from assay.models.catalog import Spec, register
from assay.models.heads import output_layer, pooled_head
from assay.models.preprocessing import preprocess

TINY, LAST = "tiny_backbone", "tiny_conv3"


@register(
    TINY, family="faults", options=BackboneOptions, pretrained=True, summary="three convolutions under a pooled head"
)
def tiny(inputs: Any, spec: Spec, options: BackboneOptions) -> Any:
    """Three strided convolutions and a pooled head."""
    from keras import layers

    x = preprocess(inputs, spec, "rescale")
    for number in range(1, 4):
        x = layers.Conv2D(8, 3, strides=2, padding="same", activation="relu", name=f"tiny_conv{number}")(x)
    return output_layer(pooled_head(x, options, options.dense, options.dropout), spec, options)
