"""Where each step runs: image, machine, node pool, accelerator, shared memory, retries, timeout.

Kubeflow takes some of it when a graph is compiled and some when a run starts; only the accelerator's type
and count are left to the run, as strings (an integer is dropped silently).
"""

from __future__ import annotations

import json
from typing import Any

from kfp import dsl, kubernetes

from assay.search.job import PROFILE_VARIABLE
from pipelines.settings import Profile, Settings, Toleration

SHARED_MEMORY = ("shared-memory", "/dev/shm")
# Nothing else of a pod is writable for its user: what a step writes beside its outputs goes here.
SCRATCH = ("scratch", "/tmp")
STEP_LABEL = "assay.dev/step"
# An hour more than any limit that is meant to hold.
MARGIN_SECONDS = 3600


def pipeline_config(settings: Settings) -> dsl.PipelineConfig:
    """Return what holds for a whole run: its longest time, and how long its pods and logs are kept."""
    # All three: the workflow engine's installation has values of its own for success and failure, which would win.
    kept = round(settings.keep_finished_hours * 3600)
    return dsl.PipelineConfig(
        ttl_seconds_after_finished=kept,
        ttl_seconds_after_success=kept,
        ttl_seconds_after_failure=kept,
        active_deadline_seconds=round(settings.run_deadline_hours * 3600),
    )


def place(
    task: dsl.PipelineTask,
    step: str,
    settings: Settings,
    accelerator_type: Any,
    accelerator_count: Any,
    *,
    chief: bool = False,
) -> None:
    """Put a task where the settings say.

    Args:
        task: The task of a graph that is being built.
        step: The step's name, which selects the profile.
        settings: Of the cluster.
        accelerator_type: Name of the extended resource, a pipeline parameter.
        accelerator_count: How many, as a string, a pipeline parameter.
        chief: The step is a search that only looks after its worker pods, which get the accelerators. Theirs are those
            of the settings: what runs begin with does not reach them.
    """
    profile = settings.chief() if chief else settings.profile(step)
    image = settings.image(profile)
    task.set_container_image(image)
    kubernetes.set_image_pull_policy(task, settings.images.pull_policy)
    # The profile's name is the kind of machine that ASSAY_PRICES names a price for.
    machine = {"ASSAY_MACHINE": settings.placement.get("search_chief" if chief else step, "cpu")}
    variables = {**machine, **settings.environment, "ASSAY_IMAGE": image}
    if chief:
        variables |= {
            "ASSAY_WORKER_MACHINE": settings.placement["search"],
            PROFILE_VARIABLE: json.dumps(settings.worker_pod()),
        }
    for name, value in variables.items():
        task.set_env_variable(name, value)
    kubernetes.add_pod_label(task, STEP_LABEL, step)
    _resources(task, profile, accelerator_type, accelerator_count)
    _node_pool(task, profile)
    kubernetes.empty_dir_mount(task, *SCRATCH)
    if profile.shared_memory:
        kubernetes.empty_dir_mount(task, *SHARED_MEMORY, medium="Memory", size_limit=profile.shared_memory)
    kubernetes.set_timeout(task, profile.timeout_minutes * 60)
    _retries(task, profile, settings)


def _retries(task: dsl.PipelineTask, profile: Profile, settings: Settings) -> None:
    """Ask for further attempts. What ends them at once is in the workflow engine's defaults: manifests/kubeflow.sh.

    Zero is said, too: a task without a policy would take the number of the engine's defaults.
    """
    # The engine counts it from the first attempt's start and ends whatever runs then, so it has to be longer than all
    # attempts; the run's own deadline is the one that may end a healthy one.
    longest = max((profile.retries + 1) * profile.timeout_minutes * 60, round(settings.run_deadline_hours * 3600))
    task.set_retry(
        num_retries=profile.retries,
        backoff_duration=f"{settings.backoff.seconds}s",
        backoff_factor=settings.backoff.factor,
        backoff_max_duration=f"{longest + MARGIN_SECONDS}s",
    )


def _resources(task: dsl.PipelineTask, profile: Profile, accelerator_type: Any, accelerator_count: Any) -> None:
    task.set_cpu_request(profile.cpu).set_memory_request(profile.memory).set_memory_limit(profile.memory)
    if profile.cpu_limit:
        task.set_cpu_limit(profile.cpu_limit)
    if profile.accelerator:
        # Both become strings inside the task: without this the graph around it would not hand their values in.
        task.register_pipeline_channels([accelerator_type, accelerator_count])
        task.set_accelerator_type(accelerator_type).set_accelerator_limit(accelerator_count)


def _node_pool(task: dsl.PipelineTask, profile: Profile) -> None:
    for key, value in profile.node_labels.items():
        kubernetes.add_node_selector(task, key, value)
    for toleration in profile.accepted_taints:
        _tolerate(task, toleration)


def _tolerate(task: dsl.PipelineTask, toleration: Toleration) -> None:
    kubernetes.add_toleration(
        task,
        key=toleration.key,
        operator=toleration.operator,
        value=toleration.value,
        effect=toleration.effect,
    )
