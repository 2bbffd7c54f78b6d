"""Have somebody told how a run has ended, where the settings name a webhook."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from kfp import dsl

from components.notify.component import notify
from pipelines.settings import Settings


def told(
    name: Any, what: str, settings: Settings | None, placed: Callable[[str, dsl.PipelineTask], dsl.PipelineTask]
) -> AbstractContextManager[Any]:
    """Return what the steps of a graph are called in, so that their end is told.

    Without a webhook that is nothing: an exit handler costs a layer of the graph, and a pod of Kubeflow's.

    Args:
        name: The model's, a parameter of the graph.
        what: The graph is of, in Kubeflow's page of a run.
        settings: Of the cluster; None: on this machine, where the command line says it.
        placed: Puts a task on a machine.
    """
    if settings is None or settings.webhook is None:
        return contextlib.nullcontext()
    # Kubeflow's status has the name of the workflow, which leads nowhere.
    run_id, interface = dsl.PIPELINE_JOB_ID_PLACEHOLDER, settings.public_url or settings.host or ""
    task = notify(name=name, run_id=run_id, public_url=interface, webhook=settings.webhook)
    handler: AbstractContextManager[Any] = dsl.ExitHandler(placed("notify", task), name=what)
    return handler
