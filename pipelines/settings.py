"""Where and how a pipeline runs on a cluster: images, node pools, retries, limits. Nothing here changes a result.

Values come, in rising order, from the defaults below, from `pipelines/settings.yaml` (or the file that
``ASSAY_SETTINGS`` names) and from the environment: ``ASSAY_PROFILES__GPU__MEMORY=32Gi``.
"""

from __future__ import annotations

import functools
import os
import subprocess
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, YamlConfigSettingsSource

from assay.errors import InputError
from assay.search.job import PROFILE_VARIABLE, worker_profile

SETTINGS_VARIABLE = "ASSAY_SETTINGS"
CHECKOUT = Path(__file__).parents[1]
DEFAULT_FILE = Path(__file__).with_name("settings.yaml")
# Of Kubernetes: "500m", "8Gi".
Quantity = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(m|k|Ki|[MGTPE]i?)?$")]


class Part(BaseModel):
    """A part of the settings: unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Toleration(Part):
    """A taint that pods of a profile accept."""

    key: str = Field(description="the taint's key")
    operator: Literal["Equal", "Exists"] = Field("Equal", description="Exists: whatever its value")
    value: str | None = Field(None, description="the taint's value, for Equal")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] = Field("NoSchedule", description="its effect")


class Profile(Part):
    """The machine that a step asks for."""

    image: Literal["cpu", "gpu"] = Field("cpu", description="which of the two images")
    cpu: Quantity = Field("2", description="cores requested")
    cpu_limit: Quantity | None = Field(None, description="cores at most; null: no limit, so that idle cores are used")
    memory: Quantity = Field("8Gi", description="memory requested and at most")
    shared_memory: Quantity | None = Field("2Gi", description="/dev/shm for data loaders; null: the 64 MiB of a pod")
    accelerator: bool = Field(False, description="ask for the accelerator that the run names")
    node_selector: dict[str, str] = Field(default_factory=dict, description="labels of the node pool")
    tolerations: tuple[Toleration, ...] = Field((), description="taints of the node pool")
    spot: bool = Field(False, description="run on spot nodes: cheaper, may be taken away")
    retries: int = Field(3, ge=0, le=10, description="further attempts after whatever is not wrong input; 0: none")
    timeout_minutes: int = Field(240, ge=1, description="a pod that runs longer is ended")

    @property
    def node_labels(self) -> dict[str, str]:
        """All labels that a node must have."""
        return {**self.node_selector, **(SPOT_LABEL if self.spot else {})}

    @property
    def accepted_taints(self) -> tuple[Toleration, ...]:
        """All taints that a node may have."""
        return (*self.tolerations, *((SPOT_TOLERATION,) if self.spot else ()))


@functools.cache
def _commit_tag() -> str:
    """Return the tag that `make images` gives; one that is refused where no commit is known."""
    command = ["git", "-C", str(CHECKOUT), "rev-parse", "--short=12", "HEAD"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "dev"


def differs_from(image: str, checkout: Path = CHECKOUT) -> str:
    """Return the commit in an image's tag where the steps in a checkout are not those of that commit; else nothing.

    Of a digest, another tag or a commit that is not known here nothing can be said.
    """
    commit = image.rsplit("/", 1)[-1].partition(":")[2]
    if not _is_commit(commit):
        return ""
    command = ["git", "-C", str(checkout), "diff", "--quiet", commit, "--", "assay", "components"]
    try:
        return commit if subprocess.run(command, capture_output=True, check=False).returncode == 1 else ""
    except OSError:
        return ""


class Images(Part):
    """The two images of the one Dockerfile, by immutable tag or digest."""

    cpu: str = Field(default_factory=lambda: f"assay:{_commit_tag()}", description="image with TensorFlow for CPU")
    gpu: str = Field(default_factory=lambda: f"assay-gpu:{_commit_tag()}", description="image with TensorFlow and CUDA")
    pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field("IfNotPresent", description="Never: kind")


class Accelerator(Part):
    """The default accelerator; both values are parameters of a run."""

    type: str = Field("nvidia.com/gpu", description="name of the extended resource")
    count: str = Field("1", pattern=r"^[0-9]+$", description="how many a pod gets")


class Auth(Part):
    """Who asks Kubeflow Pipelines; all null: the SDK's own ways."""

    token: SecretStr | None = Field(None, description="bearer token, best from ASSAY_AUTH__TOKEN")
    token_file: Path | None = Field(None, description="file with a bearer token, read for each request")
    cookies: SecretStr | None = Field(None, description="cookies of a session, such as authservice_session=...")
    kube_context: str | None = Field(None, description="context of the kubeconfig; null: the present one")
    ca_file: Path | None = Field(None, description="certificate authority of the endpoint")


class Backoff(Part):
    """How long to wait before a step is tried again; five minutes at most (manifests/kubeflow.sh).

    The workflow engine waits before it looks whether there will be another attempt: wrong input ends a run after the
    first wait, which is therefore short. Three retries go on for over two minutes.
    """

    seconds: int = Field(2, ge=1, description="before the first further attempt, and before a run ends")
    factor: int = Field(8, ge=1, description="by which the wait grows, an integer")


GPU_TOLERATION = Toleration(key="nvidia.com/gpu", operator="Exists")
SPOT_LABEL = {"cloud.google.com/gke-spot": "true"}
SPOT_TOLERATION = Toleration(key="cloud.google.com/gke-spot", value="true")


def _default_profiles() -> dict[str, Profile]:
    gpu_pool = {"assay.dev/pool": "gpu"}
    return {
        "cpu": Profile(),
        "gpu": Profile(
            image="gpu",
            cpu="4",
            memory="16Gi",
            shared_memory="8Gi",
            accelerator=True,
            node_selector=gpu_pool,
            tolerations=(GPU_TOLERATION,),
        ),
        "search": Profile(
            image="gpu",
            cpu="4",
            memory="16Gi",
            shared_memory="8Gi",
            accelerator=True,
            node_selector=gpu_pool,
            tolerations=(GPU_TOLERATION,),
            spot=True,
            retries=4,
        ),
    }


def _default_placement() -> dict[str, str]:
    return {
        "ingest": "cpu",
        "preprocess": "cpu",
        "augment": "cpu",
        "baseline": "gpu",
        "search": "search",
        "search_chief": "cpu",
        "finetune": "gpu",
        "evaluate": "gpu",
        "promote": "cpu",
        "notify": "cpu",
    }


class Settings(BaseSettings):
    """All settings of the cluster."""

    model_config = SettingsConfigDict(
        env_prefix="ASSAY_", env_nested_delimiter="__", extra="forbid", frozen=True, env_ignore_empty=True
    )

    images: Images = Field(default_factory=Images)
    allow_mutable_images: bool = Field(False, description="accept tags such as latest or dev that can change")
    profiles: dict[str, Profile] = Field(default_factory=_default_profiles)
    placement: dict[str, str] = Field(default_factory=_default_placement, description="profile of each step")
    accelerator: Accelerator = Field(default_factory=Accelerator)
    backoff: Backoff = Field(default_factory=Backoff)
    parallel_shards: int = Field(8, ge=1, le=256, description="preprocessing pods at the same time")
    parallel_folds: int = Field(4, ge=1, le=64, description="folds of a candidate that train at the same time")
    run_deadline_hours: float = Field(24, gt=0, description="a run that takes longer is ended")
    keep_finished_hours: float = Field(72, gt=0, description="pods of a finished run are kept so long")
    webhook: str | None = Field(None, description="URL that is told of each run's outcome; null: the log alone")
    host: str | None = Field(None, description="Kubeflow Pipelines endpoint; null: KFP_HOST, kubeconfig, in-cluster")
    auth: Auth = Field(default_factory=Auth, description="who asks there")
    public_url: str | None = Field(None, description="the interface's address in links; null: host")
    namespace: str = Field("kubeflow", description="where runs are started")
    service_account: str = Field("assay-pipeline", description="identity of the pods")
    experiment: str = Field("assay", description="experiment that runs belong to")
    storage_root: str | None = Field(None, description="object storage of cluster runs; null: the config's")
    environment: dict[str, str] = Field(
        default_factory=dict,
        description="variables of every step, such as STORAGE_EMULATOR_HOST",
    )

    @field_validator("profiles", mode="before")
    @classmethod
    def _profiles_over_the_defaults(cls, given: Any) -> Any:
        """Let a setting such as ASSAY_PROFILES__GPU__MEMORY change that alone, and leave the rest of the profiles."""
        profiles: dict[str, Any] = {name: profile.model_dump() for name, profile in _default_profiles().items()}
        if not isinstance(given, dict):
            return given
        for name, profile in given.items():
            values = profile.model_dump() if isinstance(profile, Profile) else profile
            profiles[name] = {**profiles.get(name, {}), **values} if isinstance(values, dict) else values
        return profiles

    @field_validator("placement", mode="before")
    @classmethod
    def _placement_over_the_defaults(cls, given: Any) -> Any:
        return {**_default_placement(), **given} if isinstance(given, dict) else given

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Read the environment before the YAML file."""
        file = Path(os.environ.get(SETTINGS_VARIABLE) or DEFAULT_FILE)
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls, yaml_file=file)

    def profile(self, step: str) -> Profile:
        """Return the profile of a step.

        Raises:
            InputError: The placement names a profile that does not exist.
        """
        name = self.placement.get(step, "cpu")
        if name not in self.profiles:
            raise InputError(
                f"settings: placement.{step} names the profile '{name}', which is not among "
                f"{', '.join(sorted(self.profiles))}."
            )
        return self.profiles[name]

    def chief(self) -> Profile:
        """Return the profile of a search whose worker pods train: it looks after them, beside their accelerators.

        It has the image, cores and memory of `search`, whose best model it writes, on the nodes of `search_chief`.
        """
        search, place = self.profile("search"), self.profile("search_chief")
        names = ("node_selector", "tolerations", "spot")
        return search.model_copy(update={"accelerator": False, **{name: getattr(place, name) for name in names}})

    def worker_pod(self) -> dict[str, Any]:
        """Return what a search's worker pods have that its chief has not: a machine as the profile of search says.

        What `environment` says of them in ``ASSAY_SEARCH_WORKER_POD`` stands above it.

        Raises:
            InputError: That is no JSON object, or has an unknown key.
        """
        profile = self.profile("search")
        limits = {"memory": profile.memory, **({"cpu": profile.cpu_limit} if profile.cpu_limit else {})}
        accelerators = {self.accelerator.type: self.accelerator.count} if profile.accelerator else {}
        return {
            "resources": {
                "requests": {"cpu": profile.cpu, "memory": profile.memory, **accelerators},
                "limits": {**limits, **accelerators},
            },
            "nodeSelector": profile.node_labels,
            "tolerations": [taint.model_dump(exclude_none=True) for taint in profile.accepted_taints],
            **worker_profile(self.environment.get(PROFILE_VARIABLE, "")),
        }

    def image(self, profile: Profile) -> str:
        """Return a profile's image.

        Raises:
            InputError: Its tag can change, which would let Kubeflow's cache serve outputs of other code.
        """
        image = self.images.gpu if profile.image == "gpu" else self.images.cpu
        if not self.allow_mutable_images and _is_mutable(image):
            raise InputError(
                f"settings: the image '{image}' has a tag that can change. Give a commit's tag or a digest "
                "(`make images` prints them), or set ASSAY_ALLOW_MUTABLE_IMAGES=true."
            )
        return image


def _is_mutable(image: str) -> bool:
    if "@sha256:" in image:
        return False
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return not _is_commit(tag)


def _is_commit(tag: str) -> bool:
    """Return whether a tag is as `make images` gives it: 12 or more hex digits."""
    return len(tag) >= 12 and all(letter in "0123456789abcdef" for letter in tag)


def load_settings(**values: Any) -> Settings:
    """Read the settings from file and environment.

    Args:
        **values: Settings that stand above both.

    Raises:
        InputError: One line that names each wrong setting.
    """
    file = os.environ.get(SETTINGS_VARIABLE)
    if file and not Path(file).is_file():
        raise InputError(f"{SETTINGS_VARIABLE}={file}: no such file.")
    try:
        return Settings(**values)
    except ValidationError as error:
        problems = "; ".join(
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}. Received: {problem.get('input')!r}"
            for problem in error.errors()
        )
        raise InputError(f"settings: {problems}") from error
