"""Promotion: the challenger becomes champion only where it beats the present one on the same test images."""

from __future__ import annotations

import json
import math
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from assay.config import PromoteConfig, RuntimeConfig
from assay.data.dataset import Dataset
from assay.errors import AssayError, DamagedError, InputError
from assay.evaluation.evaluate import group_labels
from assay.evaluation.predictions import misfit, predict_split
from assay.hashing import code_version
from assay.measures.interval import Interval
from assay.measures.metrics import METRICS, Scored
from assay.models.artifact import load_model
from assay.models.info import ModelInfo, read_info
from assay.observability.progress import log
from assay.registry.out_of_fold import OUT_OF_FOLD_FILE, OutOfFold, read_out_of_fold, write_out_of_fold
from assay.registry.seen import SEEN_FILE, read_seen, write_seen
from assay.registry.verdict import CONFIDENCE, PromotionVerdict, judge_against_champion, judge_alone
from assay.registry.versions import Champion, ChampionChanged, ModelRegistry
from assay.storage.cache import cache_folder
from assay.storage.files import new_file, read_errors
from assay.storage.open import open_store

# With fewer images of a class left, a comparison without those that the champion has seen says nothing.
FEWEST_OF_A_CLASS = 10
ATTEMPTS = 10
REPORT_FILES = ("report.html", "model_card.md", "comparison.json", "metrics.json")


@dataclass(frozen=True)
class PromotionResult:
    """What was decided.

    Args:
        promoted: Whether the challenger became champion.
        version: The challenger's version; empty where nothing was stored.
        champion: The champion's version after the decision; empty where there is none.
        reason: One sentence with the numbers.
        metrics: Flat names, finite values.
    """

    promoted: bool
    version: str
    champion: str
    reason: str
    metrics: dict[str, float]


def promote(
    promote: PromoteConfig,
    name: str,
    storage_root: str,
    evaluation_dir: Path,
    dataset_dir: Path,
    out_dir: Path,
    seed: int,
    runtime: RuntimeConfig,
) -> PromotionResult:
    """Set the best candidate against the champion on the same test split, and keep the better one as champion.

    The challenger becomes a version of the registry whatever is decided, unless it is the champion already. Where
    someone else changes the champion meanwhile, the decision is made again against the new one.

    Args:
        promote: What counts as better.
        name: The model's name in the registry.
        storage_root: A local directory or ``gs://bucket/prefix``.
        evaluation_dir: What evaluate wrote: comparison.json, best/.
        dataset_dir: What preprocess wrote.
        out_dir: Created where missing; gets decision.json and decision.md.
        seed: Of the bootstrap.
        runtime: How the machine is used.

    Raises:
        InputError: The evaluation is not whole, or of another dataset.
        AssayError: The champion cannot be read, or changes all the time.
    """
    contest = _Contest(promote, name, storage_root, evaluation_dir, dataset_dir, seed, runtime)
    result, decision = contest.decide()
    out_dir.mkdir(parents=True, exist_ok=True)
    with new_file(out_dir / "decision.md") as stage:
        stage.write_text(_markdown(decision), encoding="utf-8")
    with new_file(out_dir / "decision.json") as stage:
        stage.write_text(json.dumps(decision, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    log(result.reason)
    return result


class _Contest:
    """One challenger against whoever is champion."""

    def __init__(
        self,
        config: PromoteConfig,
        name: str,
        storage_root: str,
        evaluation_dir: Path,
        dataset_dir: Path,
        seed: int,
        runtime: RuntimeConfig,
    ) -> None:
        self.config = config
        self.runtime = runtime
        self.evaluation_dir = evaluation_dir
        self.seed = seed
        self.registry = ModelRegistry(open_store(storage_root), name)
        self.dataset = Dataset.open(dataset_dir)
        self.model_dir = evaluation_dir / "best"
        self.comparison = _comparison(evaluation_dir)
        self.candidate = self.comparison["best"]
        self.info = read_info(self.model_dir)
        mismatch = misfit(self.info, self.dataset)
        if mismatch:
            raise InputError(f"{self.model_dir}: does not fit {dataset_dir}: {mismatch}. Evaluate on this dataset.")
        self.test = self.dataset.open_test()
        self.groups = group_labels(self.dataset, self.test)
        self.notes: list[str] = []

    def decide(self) -> tuple[PromotionResult, dict[str, Any]]:
        """Publish, compare and swap; return the result and what decision.json says."""
        champion = self.registry.champion()
        if champion is not None and _same_training(self.info, self.registry.version(champion.version).info):
            return self._unchanged(champion, "the same data, config and code trained it")
        challenger = self._challenger()
        version = self._publish(challenger) if self.config.enabled else ""
        for _ in range(ATTEMPTS):
            champion = self.registry.champion()
            if champion is not None and champion.version == version:
                return self._unchanged(champion, "it is this very model")
            self.notes = []
            verdict = self._judge(version, challenger, champion)
            reason = self._sentence(verdict, version, champion)
            if verdict.promote and self.config.enabled:
                try:
                    self.registry.set_champion(version, champion, reason=reason)
                except ChampionChanged:
                    log("the champion was changed by someone else meanwhile: comparing again")
                    continue
            return self._result(verdict, version, champion, reason)
        raise AssayError(
            f"model '{self.registry.name}': the champion changed {ATTEMPTS} times during the comparison. "
            f"{version} is stored; run promote again when the others are done."
        )

    def _publish(self, challenger: Scored) -> str:
        metrics_file = self.evaluation_dir / "metrics.json"
        metadata = {
            "candidate": self.candidate,
            "metrics": json.loads(metrics_file.read_text(encoding="utf-8")) if metrics_file.is_file() else {},
            "dataset_fingerprint": self.dataset.fingerprint,
            "snapshot_fingerprint": self.dataset.description.get("snapshot", {}).get("fingerprint", ""),
            "source": self.dataset.description.get("snapshot", {}).get("source", ""),
            "code_version": code_version(),
            "seed": self.seed,
        }
        paths = [self.evaluation_dir / file for file in REPORT_FILES]
        report = {path.name: path for path in paths if path.is_file()}
        with tempfile.TemporaryDirectory() as folder:
            seen = Path(folder) / SEEN_FILE
            if write_seen(self.dataset, seen, self.test.records if self.dataset.folds else None):
                report[SEEN_FILE] = seen
                if self.dataset.folds:
                    report[OUT_OF_FOLD_FILE] = Path(folder) / OUT_OF_FOLD_FILE
                    write_out_of_fold(self.test.records, challenger, report[OUT_OF_FOLD_FILE])
            return self.registry.publish(self.model_dir, metadata, report=report).version

    def _judge(self, version: str, challenger: Scored, champion: Champion | None) -> PromotionVerdict:
        metric = self.config.metric
        returned = self.registry.rolled_back(version) if version else None
        if returned is not None:
            return PromotionVerdict(
                False, f"it was champion and was rolled back on {returned.changed[:10]} ({returned.reason})", metric
            )
        if self._untrained():
            return PromotionVerdict(False, "it was not trained: no epoch was run", metric)
        if champion is None:
            return judge_alone(self.config, challenger, self.groups, self.seed, self._over_baseline())
        info = self.registry.version(champion.version).info
        mismatch = misfit(info, self.dataset, reordered=True)
        if mismatch:
            why = f"{champion.version} cannot be compared: {mismatch}"
            way_out = (
                f"to replace it by hand: assay registry rollback {self.registry.name} --to "
                f"{version or 'VERSION'}; to keep both, give the config another `name`"
            )
            self.notes.append(way_out)
            return PromotionVerdict(False, why, metric)
        held = self.registry.read_report(champion.version, OUT_OF_FOLD_FILE)
        if held is not None and "sha256" in self.test.records:
            known = read_out_of_fold(held, f"{OUT_OF_FOLD_FILE} of {champion.version}")
            keep, other = self._folds_of_champion(champion.version, info, known)
        else:
            keep = self._fair_images(champion.version, info)
            other = self._answers(champion.version, keep)
        if not keep.any():
            why = f"{champion.version} cannot be compared: it has seen all images that are tested"
            return PromotionVerdict(False, why, metric)
        groups = None if self.groups is None else self.groups[keep]
        look = self.registry.look(
            champion.version, version, str(self.comparison.get("test", {}).get("fingerprint", ""))
        )
        return judge_against_champion(self.config, _take(challenger, keep), _take(other, keep), groups, self.seed, look)

    def _untrained(self) -> bool:
        training = self.comparison.get("candidates", {}).get(self.candidate, {}).get("training", {})
        return training.get("epochs_run") == 0

    def _over_baseline(self) -> Interval | None:
        """Return the interval of the AUC gained over the baseline, None where it is the baseline or there is none."""
        for pair in self.comparison.get("comparisons", []):
            if pair["role"] == "baseline" and pair["candidate"] == self.candidate:
                low, high = (math.nan if end is None else end for end in (pair["auc"]["low"], pair["auc"]["high"]))
                return Interval(low, high, pair["auc"]["test"])
        return None

    def _fair_images(self, version: str, info: ModelInfo) -> npt.NDArray[np.bool_]:
        """Return which test images the champion was not trained on, bool (N,)."""
        everything = np.ones(len(self.test), dtype=bool)
        if info.dataset_fingerprint == self.dataset.fingerprint:
            return everything
        data = self.registry.read_report(version, SEEN_FILE)
        if data is None or "sha256" not in self.test.records:
            self.notes.append(
                f"{version} was trained on other data, and which is not known: test images among them flatter it"
            )
            return everything
        keep = ~read_seen(data, f"{SEEN_FILE} of {version}").mask(self.test.records, self.dataset.group_column)
        if keep.all():
            return everything
        left = np.bincount(self.test.labels[keep], minlength=self.dataset.num_classes)
        count = f"{int((~keep).sum()):,} of {len(keep):,} test images (or others of their group)"
        if left.min() < FEWEST_OF_A_CLASS and not self.dataset.folds:
            self.notes.append(f"{version} was trained on {count}: too many to leave out, and they flatter it")
            return everything
        self.notes.append(f"left out of the comparison: {count}, on which {version} was trained")
        return keep

    def _folds_of_champion(
        self, version: str, info: ModelInfo, known: OutOfFold
    ) -> tuple[npt.NDArray[np.bool_], Scored]:
        """Return on which images a cross-validated champion can be judged, and its answers.

        What it was trained on is answered by the fold that had not seen it; what is new, and of no group that it knows,
        by the champion itself.
        """
        at = known.find(self.test.records)
        seen = self.registry.read_report(version, SEEN_FILE) or b""
        origin = f"{SEEN_FILE} of {version}"
        fresh = (at < 0) & ~read_seen(seen, origin).mask(self.test.records, self.dataset.group_column)
        order = np.array([info.classes.index(name) for name in self.dataset.classes])
        other = self._answers(version, fresh)
        probabilities, predicted = other.probabilities.copy(), other.predicted.copy()
        probabilities[at >= 0] = known.probabilities[at[at >= 0]][:, order]
        predicted[at >= 0] = np.argsort(order)[known.predicted[at[at >= 0]]]
        by_folds, left_out = int((at >= 0).sum()), int(((at < 0) & ~fresh).sum())
        self.notes.append(
            f"{version} is judged on {by_folds:,} images by its folds, each on what it had not seen, and on "
            f"{int(fresh.sum()):,} new ones by itself"
            + (f"; left out: {left_out:,} new images of groups that it knows" if left_out else "")
        )
        return (at >= 0) | fresh, replace(other, probabilities=probabilities, predicted=predicted)

    def _answers(self, version: str, wanted: npt.NDArray[np.bool_]) -> Scored:
        """Return a version's own answers; where none is wanted, of anything, no model is asked."""
        if not wanted.any():
            shape = (len(self.test), self.dataset.num_classes)
            nothing = np.zeros(len(self.test), np.int64)
            return Scored(self.test.labels, np.zeros(shape, np.float32), nothing, self.dataset.positive_index)
        log(f"scoring the champion {version} on {int(wanted.sum()):,} test images")
        return self._score(self.registry.fetch(version, cache_folder("models")))

    def _challenger(self) -> Scored:
        """Return the challenger's answers as evaluate stored them, for the same images."""
        import pandas as pd

        path = self.evaluation_dir / "predictions.parquet"
        columns = [f"{self.candidate}:{name}" for name in self.dataset.classes]
        index = {name: number for number, name in enumerate(self.dataset.classes)}
        with read_errors(f"{path}: the predictions of {self.candidate}", "Run evaluate again.", DamagedError):
            table = pd.read_parquet(path)
            probabilities = table[columns].to_numpy(np.float32)
            # With folds each has a threshold of its own.
            decided = np.asarray(table[f"{self.candidate}:decided"].map(index), np.int64)
        truth = np.asarray(self.dataset.classes)[self.test.labels]
        if not np.array_equal(table["label"].to_numpy(str), truth):
            raise InputError(f"{path}: not of the test split of {self.dataset.root}. Evaluate on this dataset.")
        return Scored(self.test.labels, probabilities, decided, self.dataset.positive_index)

    def _score(self, model_dir: Path) -> Scored:
        """Return another model's answers to the same images, in the dataset's order of classes."""
        # Only here: a decision that needs no model does not wait for TensorFlow.
        from assay.runtime import apply_runtime

        apply_runtime(self.runtime, self.seed)
        model = load_model(model_dir)
        raw = predict_split(model, self.test.inputs, task="score the champion on the test split")
        probabilities = model.info.calibration.apply(raw)
        order = np.array([model.info.classes.index(name) for name in self.dataset.classes])
        decided = np.argsort(order)[model.decide(probabilities)]
        return Scored(self.test.labels, probabilities[:, order], decided, self.dataset.positive_index)

    def _unchanged(self, champion: Champion, why: str) -> tuple[PromotionResult, dict[str, Any]]:
        reason = f"{champion.version} stays champion of {self.registry.name}, unchanged: {why}"
        return self._result(PromotionVerdict(False, why, self.config.metric), champion.version, champion, reason)

    def _sentence(self, verdict: PromotionVerdict, version: str, champion: Champion | None) -> str:
        model = self.registry.name
        challenger = f"{version} ({self.candidate})" if version else f"the challenger ({self.candidate})"
        if not self.config.enabled:
            would = "would become" if verdict.promote else "would not become"
            return f"{challenger} {would} champion of {model} (promote.enabled is false): {verdict.why}"
        if verdict.promote:
            over = f", after {champion.version}" if champion else " and its first"
            return f"{challenger} is the new champion of {model}{over}: {verdict.why}"
        if champion is None:
            return f"{model} still has no champion, {challenger} is not promoted: {verdict.why}"
        return f"{champion.version} stays champion of {model}, {challenger} is not promoted: {verdict.why}"

    def _result(
        self, verdict: PromotionVerdict, version: str, champion: Champion | None, reason: str
    ) -> tuple[PromotionResult, dict[str, Any]]:
        promoted = verdict.promote and self.config.enabled
        before = champion.version if champion else ""
        after = version if promoted else before
        metrics = {"promoted": float(promoted), **_numbers(verdict)}
        decision = {
            "name": self.registry.name,
            "promoted": promoted,
            "reason": reason,
            "candidate": self.candidate,
            "version": version,
            "champion": after,
            "champion_before": before,
            "metric": self.config.metric,
            "min_gain": self.config.min_gain,
            "min_value": self.config.min_value,
            "alpha": self.config.alpha,
            "confidence": CONFIDENCE,
            "test": verdict.gain.test if verdict.gain else None,
            "numbers": metrics,
            "notes": self.notes,
            "test_images": len(self.test),
            "dataset_fingerprint": self.dataset.fingerprint,
        }
        if self.config.enabled and version != before:
            self.registry.record_decision(version, decision)
        return PromotionResult(promoted, version, after, reason, metrics), decision


def _comparison(evaluation_dir: Path) -> dict[str, Any]:
    """Return what evaluate found of the candidates."""
    path = evaluation_dir / "comparison.json"
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        return {**found, "best": str(found["best"])}
    except FileNotFoundError as error:
        raise DamagedError(
            f"{evaluation_dir}: no evaluation here ({path.name} is missing). Run evaluate first."
        ) from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise DamagedError(f"{path}: cannot be read. Run evaluate again.") from error


def _same_training(first: ModelInfo, second: ModelInfo) -> bool:
    """Return whether two models come from the same data, config and code: repeats of one draw, not rivals."""
    keys = ("name", "classes", "config", "dataset_fingerprint", "code_version", "weights_hash")
    return bool(first.dataset_fingerprint) and all(getattr(first, key) == getattr(second, key) for key in keys)


def _take(scored: Scored, keep: npt.NDArray[np.bool_]) -> Scored:
    return Scored(scored.labels[keep], scored.probabilities[keep], scored.predicted[keep], scored.positive_index)


def _numbers(verdict: PromotionVerdict) -> dict[str, float]:
    """Return the numbers of a verdict under flat names; undefined ones are left out."""
    values: dict[str, float] = {}
    for prefix, score in (("", verdict.challenger), ("champion_", verdict.champion)):
        if score is not None:
            name = f"{prefix}test_{verdict.metric}"
            values |= {name: score.value, f"{name}_low": score.interval.low, f"{name}_high": score.interval.high}
    if verdict.gain is not None:
        gain = verdict.gain
        values |= {"gain": gain.difference, "gain_low": gain.interval.low, "gain_high": gain.interval.high}
        values["gain_p_value"] = gain.p_better
    return {name: float(value) for name, value in values.items() if np.isfinite(value)}


def _markdown(decision: dict[str, Any]) -> str:
    """Return the decision for people: the sentence, the numbers, what to know about them."""
    numbers, metric = decision["numbers"], decision["metric"]
    title = METRICS[metric].title
    lines = [f"# Promotion of {decision['name']}", "", f"**{decision['reason']}.**", ""]

    def cell(name: str) -> str:
        if name not in numbers:
            return "undefined"
        low, high = numbers.get(f"{name}_low"), numbers.get(f"{name}_high")
        return f"{numbers[name]:.4f}" + (f" [{low:.4f}, {high:.4f}]" if low is not None and high is not None else "")

    rows = [
        (f"challenger {decision['version']} ({decision['candidate']})", f"test_{metric}"),
        (f"champion {decision['champion_before']}", f"champion_test_{metric}"),
        ("gain", "gain"),
    ]
    rows = [(label, name) for label, name in rows if name in numbers]
    if rows:
        lines += [f"| | test {title} [{decision['confidence']:.0%} interval] |", "|---|---|"]
        lines += [f"| {label} | {cell(name)} |" for label, name in rows]
        lines.append("")
    if "gain_p_value" in numbers:
        lines += [
            f"Paired test ({decision['test']}), one-sided, of a gain above {decision['min_gain']:g}: "
            f"p = {numbers['gain_p_value']:.3g}; promoted at {decision['alpha']:g} or less.",
            "",
        ]
    lines += [f"- {note}" for note in decision["notes"]]
    return "\n".join(lines).rstrip() + "\n"
