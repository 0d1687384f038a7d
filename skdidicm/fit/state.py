"""The settings and the result of a fit, which the functions of fit, predict and saving take."""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from skdidicm.backend import BuildNetwork, ScoreNetwork, Trunk, TrunkConfig
from skdidicm.core import Channel, Process, Schedule
from skdidicm.fit.augmentation import Augmentation
from skdidicm.fit.training import HistoryRow
from skdidicm.predict.additive import Additive
from skdidicm.predict.beside import Beside, mixed
from skdidicm.predict.familiarity import Familiar
from skdidicm.predict.trees import Trees


class Seeds(NamedTuple):
    """Seeds of the parts of one fit, so that each part has a stream of its own."""

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
    """Parameters of one fit with "auto" replaced; see `skdidicm.fit.defaults.resolve`.

    The fields up to `compile` determine the network, those up to `average` its training, and the
    rest what surrounds it. `trunk` is a pretrained network to fine-tune. Only `backend`,
    `network`, `device` and `precision` may still be "auto": their values depend on what is
    installed, or are chosen by the backend. `choose_epochs` is whether there is a trial,
    `every_fold` whether it has all five folds, `ensemble` whether its networks also predict, and
    `additive` and `trees` whether such models answer beside them. `unknown_noise` is whether label
    noise is to be estimated.
    `temperature` is None if held-out rows determine it. With `many_classes` it also has a slope,
    and networks answer by their geometric mean.
    """

    backend: str | BuildNetwork
    network: Any
    trunk: TrunkConfig | None
    trunk_learning_rate: float
    conditioning: str
    parameterization: str
    objective: str
    label_noise: Channel | None
    unknown_noise: bool
    weight_decay: float
    device: str
    precision: str
    compile: bool

    max_epochs: int
    batch_size: int
    learning_rate: float
    frozen_epochs: int
    n_draws: int
    times: str
    enumerate_labels: bool
    augment: Augmentation | None
    mixup: float
    average: bool
    choose_average: bool

    choose_epochs: bool
    every_fold: bool
    ensemble: bool
    additive: bool
    trees: bool
    temperature: float | None
    many_classes: bool
    early_stopping: bool
    n_iter_no_change: int
    progress: bool
    keep_on_interrupt: bool


@dataclass(frozen=True)
class HeldOut:
    """Predictions for m rows, each by a network that was not trained on the row.

    Attributes
    ----------
    row : ndarray (m,) of int
        Index of each row among the `n_rows` that were passed to fit; -1 for the validation rows
        of the user.
    fold : ndarray (m,) of int
        Index in `Fitted.unseeing` of the network that was not trained on the row.
    proba : ndarray (m, k)
        Class probabilities by that network, without temperature.
    target, weight : ndarray (m, k), (m,)
        Class probabilities and weights of the rows, as in training.
    n_rows : int
        Number of rows that were passed to fit.
    sampler : dict
        Settings of the sampler that gave `proba`, by their names in `SamplerPlan`.
    additive, trees : ndarray (m, k) or None
        Class probabilities by additive models, and by trees, that have not seen the rows either.
    """

    row: NDArray[np.intp]
    fold: NDArray[np.intp]
    proba: NDArray[np.float64]
    target: NDArray[np.floating]
    weight: NDArray[np.floating]
    n_rows: int
    sampler: dict[str, Any] = field(default_factory=dict)
    additive: NDArray[np.float64] | None = None
    trees: NDArray[np.float64] | None = None

    def among(self, place: NDArray[np.intp], n_rows: int, sampler: dict[str, Any]) -> "HeldOut":
        """Return the same with indices among `n_rows` rows, of which these were at `place`."""
        return replace(self, row=place[self.row], n_rows=n_rows, sampler=sampler)

    def answer(self, *models: Beside | None) -> NDArray[np.float64]:
        """Return what networks and the additive model and trees, if given, say, untempered."""
        answer = self.proba
        for model, own in zip(models, (self.additive, self.trees), strict=True):
            if model is not None and own is not None:
                answer = mixed(answer, own, model.share)
        return answer

    def spread(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return values (m, ...) of the held-out rows as (n_rows, ...), NaN for the others."""
        whole = np.full((self.n_rows, *values.shape[1:]), np.nan)
        own = self.row >= 0
        whole[self.row[own]] = values[own]
        return whole


@dataclass
class Fitted:
    """The result of a fit: created by `fit.untrained`, filled by `fit.fit`, saved as a whole.

    `DiDiClassifier` has most fields as attributes with a trailing underscore, documented there.

    Attributes
    ----------
    members : list of ScoreNetwork
        Networks of the trial's folds; each was trained without a part of the rows.
    members_answer : bool
        Whether they predict together with `network` if `ensemble="auto"`.
    held_out : HeldOut or None
        Their predictions for the rows that they were not trained on; after early stopping, those
        of `network` for its validation rows.
    additive : Additive or None
        The model of a table that answers beside the networks.
    trees : Trees or None
        The trees that answer beside both.
    familiar : list of Familiar
        The features of training rows, for each network of `unseeing`.
    trunk : Trunk or None
        A frozen network whose features the networks take in place of the rows.
    calibrator : object or None
        Fitted on the held-out rows, or a function of probabilities.
    annotators : ndarray (a, k, k) or None
        P(annotator says i | true class j), after a fit on votes.
    temperature, slope : float
        The temperature of the networks' answer, and the power of a row's entropy in it.
    geometric : bool
        Whether that answer is the geometric mean of the networks'.
    training : dict
        Parameters of training with every "auto" replaced, as JSON values.
    rng : numpy.random.Generator
        Draws the order of the rows and the noise of training; further training continues it.
    n_rows : int or None
        Rows of the last fit; None for a model from a file, which does not store it.
    interrupted : bool
        Whether Ctrl-C ended the last training, which was kept.
    """

    classes: NDArray[Any]
    input_shape: tuple[int, ...]
    class_prior: NDArray[np.float64]
    process: Process
    schedule: Schedule
    seeds: Seeds
    rng: np.random.Generator
    network: ScoreNetwork
    trunk: Trunk | None = None
    members: list[ScoreNetwork] = field(default_factory=list)
    members_answer: bool = False
    held_out: HeldOut | None = None
    additive: Additive | None = None
    trees: Trees | None = None
    familiar: list[Familiar] = field(default_factory=list)
    calibrator: Any = None
    annotators: NDArray[np.float64] | None = None
    training: dict[str, Any] = field(default_factory=dict)
    history: list[HistoryRow] = field(default_factory=list)
    trial: list[HistoryRow] = field(default_factory=list)
    temperature: float = 1.0
    slope: float = 0.0
    geometric: bool = False
    n_iter: int = 0
    max_epochs: int = 0
    n_rows: int | None = None
    interrupted: bool = False

    @property
    def channel(self) -> Channel | None:
        """Label noise through which the networks learn."""
        channel: Channel | None = self.network.config.channel
        return channel

    @property
    def unseeing(self) -> list[ScoreNetwork]:
        """The networks that have not seen the rows of `held_out`, by the number of the fold."""
        return self.members or [self.network]
