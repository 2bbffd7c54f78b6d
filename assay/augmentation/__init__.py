"""Augmentation: the policy, the fused warp that applies it, and the pages that show what it does."""
