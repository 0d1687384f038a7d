"""Learning of the randomised trees that answer beside the networks and the additive model."""

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.core import Channel
from skdidicm.fit.additive import ReadOut
from skdidicm.fit.beside import choose_share, out_of_fold
from skdidicm.fit.state import HeldOut
from skdidicm.fit.training import Rows
from skdidicm.fit.trial import choose_temperature
from skdidicm.predict.beside import mixed
from skdidicm.predict.label_quality import given_labels
from skdidicm.predict.temperature import best_temperature, tempered
from skdidicm.predict.trees import Trees, in_range

_LOG_SCALE = 0.5  # the mean of trees is far from sure where single trees are; often about 0.6
_EXPECTED = 0.8  # temperature of the mean of all models, which is less sure than each of them
_TREES = 100  # with 50 of them in the folds, NLL was 0.7 % higher on nine tables of 60 rows
_DECIMALS = 12  # by which equal laws of leaves are recognised


def learn_trees(
    rows: Rows,
    held: HeldOut,
    others: NDArray[np.float64],
    read_out: ReadOut,
    seed: int,
    temperature: float | None,
    channel: Channel | None = None,
) -> tuple[Trees, HeldOut]:
    """Return the trees of the rows, and the held-out rows with the answers of trees to them.

    Every fold's held-out rows are answered by trees of the others. These answers choose the
    trees' own temperature, then their share, then the temperature of the answer of all.

    Parameters
    ----------
    rows : Rows
        All training rows, of a table.
    held : HeldOut
        What the networks of a trial say of held-out rows; `row` is the place among `rows`.
    others : ndarray (m, k)
        What all other models say of the held-out rows.
    read_out : callable
        Keeps class probabilities away from zero.
    seed : int
        Draws the splits of the nodes.
    temperature : float or None
        The temperature of the answer, or None for that of the held-out rows.
    channel : Channel, optional
        Label noise through which held-out rows are scored. Trees then learn what `true_classes`
        returns.
    """

    def grown(seen: Rows) -> Forest:
        if channel is not None:
            seen = replace(seen, target=true_classes(seen, channel, read_out, seed))
        return Forest(seen, seed)

    (plain,) = read_out(out_of_fold(rows, held, lambda seen: [grown(seen)]))
    sharpness, _ = best_temperature(
        plain, held.target, held.weight, log_scale=_LOG_SCALE, channel=channel
    )
    answer = read_out(tempered(plain, sharpness))
    share = choose_share(others, answer, held, channel)
    if temperature is None:
        expected = _EXPECTED if channel is None else 1.0  # under noise it was not measured
        temperature = choose_temperature(
            mixed(others, answer, share), held, channel, expected=expected
        )
    trees = as_arrays(grown(rows), read_out)
    learnt = replace(trees, sharpness=sharpness, share=share, temperature=temperature)
    return learnt, replace(held, trees=answer)


def true_classes(rows: Rows, channel: Channel, read_out: ReadOut, seed: int) -> NDArray[np.float64]:
    """Return the laws (n, k) of the true classes of rows with noisy labels.

    Trees of bootstrapped rows state the law of the observed label of every row that they have not
    drawn. It is carried back through the noise, equation (14), and the label is evidence about it.
    Trees that learn the given labels, and whose mean is carried back, are worse:
    `docs/studies/label_noise.rst`.
    """
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(  # its answer to indicators of classes is their mean
        max_features="sqrt", bootstrap=True, oob_score=True, random_state=seed
    )
    forest.fit(in_range(rows.x, *_range(rows)), rows.target, sample_weight=rows.weight)
    proba = read_out(channel.recover(forest.oob_prediction_))
    return given_labels(proba, rows.target, channel)


class Forest:
    """Extremely randomised trees, those of scikit-learn's ExtraTreesClassifier.

    Growing them one by one takes two thirds of its time on a hundred rows.
    """

    def __init__(self, rows: Rows, seed: int) -> None:
        from sklearn import config_context
        from sklearn.tree import ExtraTreeClassifier

        row, label = np.nonzero(rows.target)  # a soft label counts as several rows
        self.low, self.width = _range(rows)
        self.n_classes, self.classes = rows.target.shape[1], np.unique(label)
        seen = in_range(rows.x, self.low, self.width)[row]
        weight = rows.weight[row] * rows.target[row, label]
        draws, self.parts = np.random.RandomState(seed), []
        tree = ExtraTreeClassifier(max_features="sqrt")
        with config_context(skip_parameter_validation=True):
            for _ in range(_TREES):
                tree.random_state = draws.randint(np.iinfo(np.int32).max)
                fitted = tree.fit(seen, label, sample_weight=weight, check_input=False)
                self.parts.append(fitted.tree_)

    def __call__(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the class probabilities (n, k) of rows (n, d)."""
        seen = in_range(x, self.low, self.width)
        proba = np.zeros((len(x), self.n_classes))
        proba[:, self.classes] = sum(part.predict(seen) for part in self.parts) / len(self.parts)
        return proba


def as_arrays(forest: Forest, read_out: ReadOut) -> Trees:
    """Return the nodes of all trees as arrays."""
    parts = forest.parts
    root = np.cumsum([0, *(part.node_count for part in parts)])[:-1]
    own = np.arange(sum(part.node_count for part in parts))
    left, right = (
        np.concatenate(
            [getattr(part, side) + first for part, first in zip(parts, root, strict=True)]
        )
        for side in ("children_left", "children_right")
    )
    column, threshold, value = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("feature", "threshold", "value")
    )
    leaf = column < 0
    law = np.zeros((len(own), forest.n_classes))
    law[:, forest.classes] = value[:, 0] / value[:, 0].sum(axis=1, keepdims=True)
    proba, number = np.unique(law[leaf].round(_DECIMALS), axis=0, return_inverse=True)
    law_of = np.zeros(len(own), dtype=np.intp)
    law_of[leaf] = number.ravel()
    return Trees(
        low=forest.low,
        width=forest.width,
        root=root,
        column=np.where(leaf, 0, column),
        threshold=_below(threshold),
        left=np.where(leaf, own, left),
        right=np.where(leaf, own, right),
        law=law_of,
        proba=read_out(proba),
    )


def _range(rows: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the smallest value of every column (d,), and the largest minus it or 1."""
    x = rows.x.astype(np.float64)
    width = np.ptp(x, axis=0)
    return x.min(axis=0), np.where(width > 0, width, 1.0)


def _below(threshold: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the largest single-precision numbers that are no larger."""
    single = threshold.astype(np.float32)
    return np.where(single > threshold, np.nextafter(single, np.float32(-np.inf)), single)
