"""The train_fold step."""
