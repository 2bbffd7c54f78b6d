"""The page of a training step: learning curves in the report's look, for Kubeflow's interface."""

from __future__ import annotations

from pathlib import Path

from assay.models.info import read_info
from assay.pages.plots import learning_figures
from assay.pages.template import page_template
from assay.training.result import TrainingResult


def write_page(step: str, result: TrainingResult, path: Path) -> None:
    """Write what a training step found on the validation split.

    Args:
        step: Its name.
        result: What it left behind.
        path: The file; its folder is there.
    """
    page = page_template("curves.html.j2", Path(__file__).parent).render(
        step=step, info=read_info(result.model_dir), metrics=result.metrics, figures=learning_figures(result.history)
    )
    path.write_text(page, encoding="utf-8")
