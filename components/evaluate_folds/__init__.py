"""The evaluate_folds step."""
