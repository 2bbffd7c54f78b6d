"""Pipeline steps as Kubeflow components: thin typed interfaces over `assay.steps`."""

# Replaced per task by the image of the settings when a graph is built for a cluster.
BASE_IMAGE = "python:3.11"
