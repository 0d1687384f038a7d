"""Figures of an evaluation, accumulated batch by batch."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.metrics import TOP, log_proba

N_BINS = 15


@dataclass
class Tally:
    """Sums over images with paths of `steps` + 1 distributions each.

    The `totals` of several processes can be added.
    """

    steps: int
    totals: NDArray[np.float64] = field(init=False)

    def __post_init__(self) -> None:
        """Set all sums to zero."""
        self.totals = np.zeros(4 + 3 * N_BINS + 2 * (self.steps + 1) + 1)

    def add(self, path: NDArray[np.floating], labels: NDArray[np.integer]) -> None:
        """Add images with distributions (n, steps + 1, k) and true labels (n,)."""
        path = path.astype(np.float64)
        p, rows = path[:, -1], np.arange(len(path))
        p = p / p.sum(axis=1, keepdims=True)
        true = p[rows, labels]
        # A tie with the true class counts as an error.
        rank = (p > true[:, None]).sum(axis=1) + ((p == true[:, None]).sum(axis=1) - 1)
        one_hot = np.zeros_like(p)
        one_hot[rows, labels] = 1
        confidence, hit = p.max(axis=1), p.argmax(axis=1) == labels
        bins = np.searchsorted(np.linspace(0, 1, N_BINS + 1)[1:-1], confidence, side="left")
        sums = [float(len(p)), float(hit.sum()), float((rank < TOP).sum())]
        nll = -log_proba(true).sum()
        brier = np.square(p - one_hot).sum()
        calibration = [
            np.bincount(bins, weights=weights, minlength=N_BINS)
            for weights in (np.ones(len(p)), confidence, hit.astype(float))
        ]
        at_steps = (path.argmax(axis=2) == labels[:, None]).sum(axis=0)
        log_law = log_proba(path[rows, :, labels])
        self.totals += np.concatenate(
            [sums, [nll], *calibration, at_steps, -log_law.sum(axis=0), [brier]]
        )

    def figures(self) -> dict[str, Any]:
        """Return accuracy, top-5 accuracy, NLL (nats), ECE, Brier score, and accuracy by step."""
        n = self.totals[0]
        if n == 0:
            raise ValueError("no image was evaluated; expected at least one.")
        count, confidence, hits = np.split(self.totals[4 : 4 + 3 * N_BINS], 3)
        del count
        tail = self.totals[4 + 3 * N_BINS :] / n
        by_step, nll_by_step = tail[: self.steps + 1], tail[self.steps + 1 : -1]
        return {
            "n_images": int(n),
            "accuracy": float(self.totals[1] / n),
            "top5_accuracy": float(self.totals[2] / n),
            "nll": float(self.totals[3] / n),
            "ece": float(np.abs(confidence - hits).sum() / n),
            "brier": float(tail[-1]),
            "accuracy_by_step": by_step.tolist(),
            "nll_by_step": nll_by_step.tolist(),
        }
