"""Training: input pipeline, fit loop, phases, checkpoints and exact resume, feature cache."""
