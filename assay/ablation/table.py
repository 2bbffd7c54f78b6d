"""The ablation's table, as CSV, as Markdown and as a self-contained page with the intervals drawn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from assay.augmentation.operations import active_operations
from assay.config import Policy
from assay.pages.svg import interval_bar
from assay.pages.template import page_template
from assay.storage.files import new_file

if TYPE_CHECKING:
    import pandas as pd

    from assay.ablation.results import AblationResult, VariantOutcome


def write_ablation(out_dir: Path, result: AblationResult, policy: Policy, budget: str) -> None:
    """Write ``ablation.csv``, ``ablation.md`` and ``ablation.html``.

    Args:
        out_dir: Where to; created where missing.
        result: What the ablation found.
        policy: The policy in question.
        budget: What each variant was given, in words.
    """
    with new_file(out_dir / "ablation.csv") as stage:
        ablation_table(result).to_csv(stage, index=False)
    with new_file(out_dir / "ablation.md") as stage:
        stage.write_text(_markdown(result, budget), encoding="utf-8")
    with new_file(out_dir / "ablation.html") as stage:
        stage.write_text(_page(result, policy, budget), encoding="utf-8")


def ablation_table(result: AblationResult) -> pd.DataFrame:
    """Return one row a variant: AUC by seed, mean, spread, difference to the reference with its interval, verdict."""
    import pandas as pd

    rows = []
    for outcome in result.outcomes:
        operation = outcome.variant.operation
        rows.append(
            {
                "variant": outcome.variant.kind,
                "operation": "" if operation is None else operation.field,
                "val_auc": outcome.mean,
                "spread": outcome.spread,
                "compared_with": outcome.reference,
                "difference": outcome.difference,
                "low": outcome.low,
                "high": outcome.high,
                "verdict": outcome.verdict,
                **{f"seed_{number}": value for number, value in enumerate(outcome.values, start=1)},
            }
        )
    return pd.DataFrame(rows)


def _markdown(result: AblationResult, budget: str) -> str:
    lines = [
        "# Augmentation ablation",
        "",
        f"{budget}. Validation AUC after the last epoch; differences are paired by seed, with intervals over the "
        "seeds that hold at once for all that are compared with one reference (95 %).",
        "",
        "| variant | AUC | spread | compared with | difference | interval | verdict |",
        "|---|---|---|---|---|---|---|",
    ]
    for outcome in result.outcomes:
        interval = f"{outcome.low:+.4f} to {outcome.high:+.4f}" if outcome.reference else ""
        difference = f"{outcome.difference:+.4f}" if outcome.reference else ""
        lines.append(
            f"| {outcome.variant.name} | {outcome.mean:.4f} | {outcome.spread:.4f} | {outcome.reference} | "
            f"{difference} | {interval} | {outcome.verdict} |"
        )
    kept = ", ".join(operation.name for operation in active_operations(result.recommended)) or "none"
    return "\n".join([*lines, "", f"Recommended operations: {kept} ({result.reason}).", ""])


def _page(result: AblationResult, policy: Policy, budget: str) -> str:
    groups = [
        (title, [outcome for outcome in result.outcomes if outcome.variant.kind in kinds])
        for title, kinds in (
            ("All, none, and what is recommended", ("all", "none", "recommended")),
            ("Each operation left out, against all", ("without",)),
            ("Each operation alone, against none", ("alone",)),
        )
    ]
    compared = [outcome for outcome in result.outcomes if outcome.reference]
    reach = max([max(abs(outcome.low), abs(outcome.high)) for outcome in compared] or [0.0]) or 1e-3
    kept = active_operations(result.recommended)
    return page_template("ablation.html.j2", Path(__file__).parent).render(
        budget=budget,
        groups=[
            (title, [(outcome, _bar(outcome, reach) if outcome.reference else None) for outcome in outcomes])
            for title, outcomes in groups
        ],
        scale=(-reach, reach),
        reason=result.reason,
        kept=[operation.title for operation in kept],
        dropped=[operation.title for operation in active_operations(policy) if operation not in kept],
        changed=result.recommended != policy,
        recommended=json.dumps(result.recommended.model_dump(mode="json", exclude_defaults=True), indent=2),
    )


def _bar(outcome: VariantOutcome, reach: float) -> str:
    style = "good" if outcome.low > 0 else "bad" if outcome.high < 0 else "s5"
    label = f"{outcome.variant.name}: {outcome.difference:+.4f}, {outcome.low:+.4f} to {outcome.high:+.4f}"
    return interval_bar(
        outcome.low, outcome.difference, outcome.high, (-reach, reach), style=style, reference=0.0, label=label
    )
