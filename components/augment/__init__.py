"""The augment step."""
