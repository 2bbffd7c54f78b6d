"""Run the steps of a local run in containers, under what a cluster lets them do: no root, a root folder that cannot be
written, no capabilities. They have no network either: what an image lacks shows here."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from assay.config import RunConfig
from assay.errors import InputError
from assay.observability.parent import HEARTBEAT_VARIABLE, heartbeat
from assay.storage.cache import CACHE_VARIABLE

RUN_LABEL = "assay.dev/run"
HEARTBEAT_FILE = ".heartbeat"


@dataclass(frozen=True)
class Containers:
    """What the steps of a run are run in.

    Attributes:
        image: Name and tag of the image.
        image_id: What the name stands for now; a tag may be given to another image.
        user: Ids of user and group.
    """

    image: str
    image_id: str
    user: tuple[int, int]

    @classmethod
    def of(cls, image: str, config: RunConfig, runs_dir: Path) -> Containers:
        """Look for the image before anything is written.

        Args:
            image: Name and tag.
            config: The resolved config, with absolute paths.
            runs_dir: The folder of runs, which may not exist yet.

        Raises:
            InputError: There is no engine or no such image, the config names what only a network reaches, or
                only root could write into the folder of runs.
        """
        import docker

        named = {
            "data.source": config.data.source,
            "storage.root": config.storage.root,
            "finetune.weights": config.finetune.weights,
        }
        for key, uri in named.items():
            if "://" in uri and not uri.startswith("demo://"):
                raise InputError(
                    f"{key}: with --image, steps have no network. Received: {uri}. Give a path on this machine, or "
                    "leave --image out."
                )
        user = os.getuid(), os.getgid()
        if user[0] == 0:
            # No cluster runs steps as root: root runs them as the one to whom the folder belongs.
            nearest = next(folder for folder in (runs_dir, *runs_dir.parents) if folder.exists())
            user = nearest.stat().st_uid, nearest.stat().st_gid
            if user[0] == 0:
                raise InputError(
                    f"--image: called by root, steps run as the owner of the folder of runs, and {nearest} belongs to "
                    "root. Call it as another user, or give a folder of another user with --runs."
                )
        try:
            with contextlib.closing(docker.from_env()) as engine:
                return cls(image, engine.images.get(image).id.removeprefix("sha256:"), user)
        except docker.errors.ImageNotFound:
            raise InputError(
                f"--image {image}: Docker has no such image here. Build it (`make images`) or `docker pull` it."
            ) from None
        except docker.errors.DockerException as error:
            raise InputError(
                f"--image {image}: no Docker engine answers ({error}). Start it, or set DOCKER_HOST."
            ) from error

    @contextlib.contextmanager
    def runner(self, config: RunConfig, run_dir: Path, cache: Path, variables: dict[str, str]) -> Iterator[Any]:
        """Give Kubeflow's runner; containers that are left when the block ends are ended with it.

        Where this process is killed, no block ends: its containers then miss its heartbeat, and end.

        Args:
            config: As in `of`.
            run_dir: The run's folder, in the folder of runs.
            cache: What this image has computed.
            variables: Environment of every step.
        """
        import docker
        from kfp import local

        runs_dir = run_dir.parent
        own = [runs_dir / "steps", cache]
        elsewhere = [Path(folder) for folder in (config.storage.root, config.runtime.cache_dir) if folder]
        for folder in (*own, *elsewhere):
            folder.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            for path in (run_dir / "events.jsonl", *own, *elsewhere):
                os.chown(path, *self.user)
        inputs = [Path(path) for path in (config.data.source, config.finetune.weights) if path.startswith("/")]

        def mount(path: Path, *, read_only: bool) -> Any:
            return docker.types.Mount(str(path), str(path), type="bind", read_only=read_only)

        runner = local.DockerRunner(
            entrypoint="",  # Kubeflow gives the whole command.
            user="{}:{}".format(*self.user),
            read_only=True,
            tmpfs={"/tmp": ""},
            shm_size="2g",  # As of a pod: Docker's own is 64 MiB.
            network_mode="none",
            cap_drop=["ALL"],
            security_opt=["no-new-privileges"],
            mounts=[
                *(mount(folder, read_only=False) for folder in (runs_dir, *elsewhere)),
                # A path that does not exist is for the step to report.
                *(mount(path, read_only=True) for path in inputs if path.exists()),
            ],
            environment={
                **variables,
                CACHE_VARIABLE: str(cache),
                "ASSAY_IMAGE": self.image,
                HEARTBEAT_VARIABLE: str(run_dir / HEARTBEAT_FILE),
            },
            labels={RUN_LABEL: str(run_dir)},
        )
        try:
            with heartbeat(run_dir / HEARTBEAT_FILE):
                yield runner
        finally:
            with contextlib.closing(docker.from_env()) as engine:
                for container in engine.containers.list(filters={"label": f"{RUN_LABEL}={run_dir}"}):
                    container.kill()
