"""InceptionV3 with the notes' head (Szegedy et al. 2015, arXiv:1512.00567)."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from assay.models.applications import BackboneOptions, backbone_features, backbone_fits
from assay.models.catalog import Spec, register
from assay.models.heads import output_layer, pooled_head


class InceptionOptions(BackboneOptions):
    """Options of the head on InceptionV3; the defaults are the notes'."""

    dense: int = Field(1024, ge=0, le=65_536, description="units before the output; 0: none")
    dropout: float = Field(0.0, ge=0, lt=1, description="fraction dropped before the output")


@register(
    "inception_v3",
    family="inception",
    options=InceptionOptions,
    pretrained=True,
    fits=backbone_fits,
    summary="InceptionV3 under global average pooling and Dense 1024",
)
def inception_v3(inputs: Any, spec: Spec, options: InceptionOptions) -> Any:
    """Global average pooling, Dense 1024 ReLU, output. The notes unfreeze from base layer 249."""
    features = backbone_features(inputs, spec, options.preprocessing)
    return output_layer(pooled_head(features, options, options.dense, options.dropout), spec, options)
