"""Models: a registry of named architectures, pretrained weights, and the exported model artifact."""
