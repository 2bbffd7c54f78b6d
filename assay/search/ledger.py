"""The chief's book of a running search: which trials have ended, the best so far, and what may be thrown away."""

from __future__ import annotations

from assay.observability.progress import Progress, log
from assay.search.oracles import PARENT, SteadyOracle
from assay.search.results import TrialRow, best_row, progress_note, told
from assay.search.trials import TrialRunner
from assay.training.lease import Lease


class Ledger:
    """Follows a search from the process that owns its oracle.

    Args:
        oracle: The search's.
        runner: Says the space, the objective and where records are.
        progress: Told of each trial that ends.
        lease: The right to write at the search's location.
    """

    def __init__(
        self, oracle: SteadyOracle, runner: TrialRunner, progress: Progress, lease: Lease | None = None
    ) -> None:
        self._oracle, self._runner, self._progress, self._lease = oracle, runner, progress, lease
        self._rows: dict[str, TrialRow] = {}
        # Of an earlier attempt, which has told them.
        self._told = set(oracle.end_order)
        self._removed: set[str] = set()

    def rows(self) -> list[TrialRow]:
        """Return the trials that have ended, in that order."""
        for trial_id in list(self._oracle.end_order):
            if trial_id not in self._rows:
                row = self._runner.records.row(trial_id) or self._unrecorded(trial_id)
                self._rows[trial_id] = row
                if row.worker and trial_id not in self._told:
                    # What a worker prints goes with its pod.
                    log(f"search: {told(row, self._runner.spec.search.objective)}")
        return list(self._rows.values())

    def update(self) -> None:
        """Take in what has ended: tell the progress, and remove checkpoints that nothing asks for any more.

        A search then holds a few checkpoints at a time, however many trials it has.

        Raises:
            AssayError: Another process has taken over the search.
        """
        if self._lease is not None:
            self._lease.check()
        rows = self.rows()
        objective = self._runner.spec.search.objective
        self._progress.done = len(rows)
        self._progress.note(progress_note(rows, objective))
        best = best_row(rows, objective)
        keep = self._oracle.needed() | ({best.trial} if best is not None else set())
        for trial_id in self._rows.keys() - keep - self._removed:
            self._runner.records.remove_checkpoint(trial_id)
            self._removed.add(trial_id)

    def _unrecorded(self, trial_id: str) -> TrialRow:
        """Return the row of a trial whose worker was lost before it could write one."""
        trial = self._oracle.trials[trial_id]
        drawn = trial.hyperparameters.values
        note = (trial.message or "its worker left no record").strip().splitlines()[-1]
        continues = str(drawn.get(PARENT, ""))
        return TrialRow(
            trial=trial_id, values=self._runner.space.values(drawn), status="failed", continues=continues, note=note
        )
