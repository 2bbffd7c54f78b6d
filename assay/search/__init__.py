"""Hyperparameter search with KerasTuner: the space, local workers, cluster workers."""
