"""Import all that a step may need and say what the image holds: its health check, and what it does by itself."""

import importlib
import os
import pkgutil
import sys
from importlib.metadata import version

# What Kubeflow sets for its executor: kfp then imports nothing of its compiler.
os.environ["_KFP_RUNTIME"] = "true"

# What assay imports where it uses it, and Kubeflow's executor.
PACKAGES = (
    "cv2",
    "google.cloud.storage",
    "grpc",
    "h5py",
    "jinja2",
    "keras",
    "keras_tuner",
    "kfp.dsl.executor_main",
    "kubernetes",
    "markupsafe",
    "numpy",
    "onnx",
    "pandas",
    "PIL",
    "psutil",
    "pyarrow",
    "pydantic",
    "requests",
    "scipy",
    "sklearn",
    "tensorboard",
    "tensorflow",
    "urllib3",
    "yaml",
)


def main() -> None:
    """Fail with Python's own error where something is missing."""
    import assay
    from assay.hashing import code_version

    for name in PACKAGES:
        importlib.import_module(name)
    for module in pkgutil.walk_packages(assay.__path__, "assay."):
        importlib.import_module(module.name)
    import tensorflow

    print(f"assay {code_version()}, tensorflow {tensorflow.__version__}, keras {version('keras')}", end=", ")
    print(f"kfp {version('kfp')}, python {sys.version.split()[0]}, uid {os.getuid()}")


if __name__ == "__main__":
    main()
