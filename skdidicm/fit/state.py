"""What a fit is asked for, and what it has learnt: two dataclasses that everything else takes."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skdidicm.backend import BuildNetwork, ScoreNetwork
from skdidicm.core import Process, Schedule
from skdidicm.fit.augmentation import Augmentation
from skdidicm.fit.training import HistoryRow


class Seeds(NamedTuple):
    """Private seeds of one fit, so that no part of it draws from another's stream."""

    network: int
    training: int
    split: int
    sampling: int

    @classmethod
    def draw(cls, random_state: int | np.random.RandomState | None) -> "Seeds":
        """Return new seeds; the same for the same integer."""
        entropy = check_random_state(random_state).randint(np.iinfo(np.int32).max)
        return cls(*(int(s) for s in np.random.SeedSequence(entropy).generate_state(4)))


@dataclass(frozen=True)
class Settings:
    """Parameters of one fit with every "auto" replaced; see `skdidicm.fit.defaults.resolve`.

    The fields up to `compile` decide the network, those up to `average` the training, and the
    rest what is done around it. `choose_epochs` says whether there is a trial, `ensemble` whether
    its networks answer too, and `temperature` is None where held-out rows choose it.
    """

    backend: str | BuildNetwork
    network: Any
    conditioning: str
    parameterization: str
    objective: str
    weight_decay: float
    device: str
    precision: str
    compile: bool

    max_epochs: int
    batch_size: int
    learning_rate: float
    n_draws: int
    enumerate_labels: bool
    augment: Augmentation | None
    mixup: float
    average: bool

    choose_epochs: bool
    ensemble: bool
    temperature: float | None
    early_stopping: bool
    n_iter_no_change: int
    progress: bool


@dataclass(frozen=True)
class HeldOut:
    """Training rows that a network has not seen, m of them, and what it says of them.

    Attributes
    ----------
    row : ndarray (m,) of int
        Place of each row among the `n_rows` that the fit was given.
    fold : ndarray (m,) of int
        Which of `Fitted.members` has not seen the row.
    proba : ndarray (m, k)
        Class probabilities by that network, without temperature.
    target, weight : ndarray (m, k), (m,)
        Class probabilities that were to be learnt, and weights, as in training.
    n_rows : int
        Number of rows that the fit was given.
    """

    row: NDArray[np.intp]
    fold: NDArray[np.intp]
    proba: NDArray[np.float64]
    target: NDArray[np.floating]
    weight: NDArray[np.floating]
    n_rows: int

    def among(self, place: NDArray[np.intp], n_rows: int) -> "HeldOut":
        """Return the same for rows that were some of `n_rows`, at these places."""
        return replace(self, row=place[self.row], n_rows=n_rows)


@dataclass
class Fitted:
    """What a fit has learnt: made by `fit.untrained`, filled by `fit.fit`, saved and loaded whole.

    `DiDiClassifier` shows most of it as attributes with a trailing underscore and documents it.

    Attributes
    ----------
    members : list of ScoreNetwork
        Networks of the trial's folds, which each have not seen a part of the rows.
    members_answer : bool
        Whether the fit resolved that they predict together with `network`.
    held_out : HeldOut or None
        What they say of the rows that they have not seen.
    rng : numpy.random.Generator
        Draws the order of the rows and the noise of training; training on continues its stream.
    n_rows : int or None
        Rows of the last fit; None for a model from a file, which does not say.
    """

    classes: NDArray[Any]
    input_shape: tuple[int, ...]
    class_prior: NDArray[np.float64]
    process: Process
    schedule: Schedule
    seeds: Seeds
    rng: np.random.Generator
    network: ScoreNetwork
    members: list[ScoreNetwork] = field(default_factory=list)
    members_answer: bool = False
    held_out: HeldOut | None = None
    history: list[HistoryRow] = field(default_factory=list)
    trial: list[HistoryRow] = field(default_factory=list)
    temperature: float = 1.0
    n_iter: int = 0
    max_epochs: int = 0
    n_rows: int | None = None
