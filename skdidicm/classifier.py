"""DiDiClassifier: the scikit-learn estimator, its parameters, and how it is saved.

What it does with them is in its bases: `Learner` fits and `Predictor` predicts.
"""

from collections.abc import Callable
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike

from skdidicm.backend import BuildNetwork
from skdidicm.core import Schedule
from skdidicm.fit.augmentation import Augmentation
from skdidicm.fit.training import HistoryRow
from skdidicm.learner import Learner
from skdidicm.report.notebook import FactsMixin

Callback = Callable[["DiDiClassifier", HistoryRow], bool | None]


class DiDiClassifier(FactsMixin, Learner):
    """Classifier that carries a uniform guess to P(class | x) by discrete diffusion over labels.

    A network that sees a row, a noisy label and the noise level learns the ratios of class
    probabilities under noise; a few reverse steps turn noise into the posterior. Takes tables
    (n, d) and images (n, height, width) or (n, height, width, channels), uint8 or float.

    Parameters
    ----------
    steps : int, default=8
        Reverse steps at prediction. Can be changed after fit, as all settings of the sampler.
    sampler : {"cp", "cl"}, default="cp"
        Class probabilities carried as a whole, or shares of `n_chains` chains of labels.
    solver : {"auto", "euler", "bridge"}, default="auto"
        Explicit step of the paper, or the exact Bayes bridge. "auto" is "bridge" for the posterior
        parameterization and "euler" for scores.
    label_rule : {"argmin", "argmax", "draw"}, default="argmin"
        Which label a step of "cp" conditions on.
    n_chains : int, default=16
        Chains per row of "cl".
    network : str or object, default="auto"
        A name that the backend knows ("mlp", "didirn-tiny", "didirn18", "didirn50", ..., or
        "timm/NAME" for a network of timm), or a module of its framework that maps images to
        features. "auto" is "mlp" for tables, "didirn-tiny" for images under 64 pixels, else
        "didirn18".
    conditioning : {"auto", "blocks", "last", "head", "none"}, default="auto"
        Where label and noise enter the network: every block (the paper), the last block, or a
        small head. "auto" is "last", and "head" for a module of your own or of timm. "none" is an
        ordinary classifier, for comparison.
    parameterization : {"auto", "score", "posterior"}, default="auto"
        Whether outputs are log scores or logits of the posterior. "auto" is "score" for tables of
        up to 5,000 rows, else "posterior", unless the objective decides.
    objective : {"auto", "score_entropy", "bayes_cross_entropy"}, default="auto"
        Training loss; "bayes_cross_entropy" is Bayes-corrected and needs "posterior". "auto" is
        "score_entropy" for tables of up to 5,000 rows, else "bayes_cross_entropy", unless the
        parameterization decides.
    schedule : {"loglinear", "geometric", "cosine"} or Schedule, default="loglinear"
        Noise over time.
    rate_matrix : array-like (k, k), optional
        Rates at which noise turns class j into class i, [i, j]; default uniform.
    n_draws : int, default="auto"
        Noisy labels per row and update. "auto" is 4 for images, 16 for tables of up to 5,000 rows
        and 8 for longer ones; for tables of up to 256 rows and 8 classes it is the sum over all
        labels at 8 noise levels. From 8 draws on all rows of an update share their levels.
    backend : str or callable, default="auto"
        Name of an installed backend, or a `build_network` function of your own.
    device, precision : str, default="auto"
        Where and in which number format the backend computes. Tables of several mini-batches are
        learnt in float32, shorter ones and images in what the backend chooses.
    compile : bool, default=False
        Whether the backend compiles the network; pays off in long runs on a GPU.
    max_epochs, batch_size : int, default="auto"
        Passes over the data and rows per update.
    learning_rate, weight_decay : float, default="auto"
        Peak rate of AdamW, which warms up, stays and falls along a cosine, and its decay.
    average : bool, default="auto"
        Whether the network predicts with an average of its weights after the epochs so far, late
        ones counting more. The rate then stays at its peak for the first half of `max_epochs`,
        else it falls from the start. "auto" does so but for more than 5,000 images.
    augment : {"auto", "shift"} or callable or None, default="auto"
        Changes to every training batch. "shift" moves images by up to a 14th of their size;
        "auto" is that for images and nothing for tables. A callable maps
        (rows, numpy.random.Generator) to changed rows.
    mixup : float, default="auto"
        Blends training rows and their class probabilities in pairs, with shares drawn from
        Beta(mixup, mixup); 0 for none. "auto" is 0 for tables, 0.3 for up to 5,000 images and 0.1
        for more.
    choose_epochs : bool, default="auto"
        Whether fit first tries on four fifths of the rows how long to train, from a quarter to
        all of `max_epochs`, longer only if that lowers the NLL of the other fifth. Under
        2,000 rows several such parts are tried. "auto" does so for 30 to 50,000 rows, unless
        `max_epochs` is a number. No trial with `early_stopping`, nor when training goes on.
    ensemble : bool, default="auto"
        Whether the networks of that trial are kept and answer too: probabilities are then the mean
        over all of them, for as many times the work. "auto" is True for fewer than 2,000 images
        or 1,000 rows of a table, unless the network is a module of your own or of timm. False can
        be set after fit. Without a trial there is one network.
    temperature : float, default="auto"
        Probabilities are taken to the power of 1 / temperature: above 1 they claim less. "auto" is
        chosen on the rows that fit holds out to choose its length or to stop early, else 1. Can be
        changed after fit.
    early_stopping : bool, default=False
        Stop when the NLL of held-out rows has not improved for `n_iter_no_change` epochs, and
        take back the best weights.
    validation_fraction : float, default=0.1
        Share of the rows that early stopping holds out if `X_val` is not given.
    n_iter_no_change : int, default=10
        Patience of early stopping, in epochs.
    class_weight : dict or "balanced", optional
        Weights of the classes.
    callbacks : list of callable, optional
        Called as callback(estimator, history_row) after every epoch; True stops training. For
        callbacks of scikit-learn's own protocol (1.9 and later) there is `set_callbacks`.
    warm_start : bool, default=False
        Whether fit goes on from the last weights.
    random_state : int or RandomState, optional
        Seed of weights, order, noise and sampler.
    verbose : int, default=0
        1 shows a progress bar on stderr.

    Attributes
    ----------
    classes_ : ndarray (k,)
        Class labels, sorted.
    history_ : list of dict
        One row per epoch: epoch, loss, learning_rate, seconds, and with validation rows
        val_accuracy and val_nll.
    n_iter_ : int
        Epochs trained.
    max_epochs_ : int
        Epochs that the last fit was to take at most: what "auto" came to.
    trial_ : list of dict
        One row per round of the trial that chose them: epochs, temperature, and val_nll at it.
        Empty without one.
    temperature_ : float
        What `temperature="auto"` came to.
    network_ : ScoreNetwork
        The network that learnt from all rows.
    members_ : list of ScoreNetwork
        Networks of the trial whose answers count beside its own; training on drops them.
    input_shape_ : tuple of int
        Shape of one row.
    n_features_in_ : int
        Size of the second axis of X.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = DiDiClassifier(steps=8, random_state=0).fit(X, y)
    >>> classifier.predict(X[:3])
    array([0, 0, 0])
    >>> classifier.predict_proba(X[:3]).shape
    (3, 3)
    """

    def __init__(
        self,
        steps: int = 8,
        *,
        sampler: str = "cp",
        solver: str = "auto",
        label_rule: str = "argmin",
        n_chains: int = 16,
        network: Any = "auto",
        conditioning: str = "auto",
        parameterization: str = "auto",
        objective: str = "auto",
        schedule: str | Schedule = "loglinear",
        rate_matrix: ArrayLike | None = None,
        n_draws: int | str = "auto",
        backend: str | BuildNetwork = "auto",
        device: str = "auto",
        precision: str = "auto",
        compile: bool = False,  # noqa: A002 - the name that torch users know
        max_epochs: int | str = "auto",
        batch_size: int | str = "auto",
        learning_rate: float | str = "auto",
        weight_decay: float | str = "auto",
        augment: Augmentation | str | None = "auto",
        mixup: float | str = "auto",
        average: bool | str = "auto",
        choose_epochs: bool | str = "auto",
        ensemble: bool | str = "auto",
        temperature: float | str = "auto",
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 10,
        class_weight: dict[Any, float] | str | None = None,
        callbacks: list[Callback] | None = None,
        warm_start: bool = False,
        random_state: int | np.random.RandomState | None = None,
        verbose: int = 0,
    ) -> None:
        self.steps = steps
        self.sampler = sampler
        self.solver = solver
        self.label_rule = label_rule
        self.n_chains = n_chains
        self.network = network
        self.conditioning = conditioning
        self.parameterization = parameterization
        self.objective = objective
        self.schedule = schedule
        self.rate_matrix = rate_matrix
        self.n_draws = n_draws
        self.backend = backend
        self.device = device
        self.precision = precision
        self.compile = compile
        self.max_epochs = max_epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.weight_decay = weight_decay
        self.augment = augment
        self.mixup = mixup
        self.average = average
        self.choose_epochs = choose_epochs
        self.ensemble = ensemble
        self.temperature = temperature
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to one file of JSON and safetensors, atomically.

        Parameters
        ----------
        path : path-like
            The file, by convention with the suffix `.skd`; one that is there is replaced.

        Examples
        --------
        >>> import tempfile
        >>> from pathlib import Path
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     classifier.save(Path(folder) / "iris.skd")
        ...     again = DiDiClassifier.load(Path(folder) / "iris.skd")
        >>> bool((again.predict_proba(X) == classifier.predict_proba(X)).all())
        True
        """
        from skdidicm.saving.persistence import save

        save(self, path)

    @classmethod
    def load(
        cls,
        path: str | PathLike[str],
        *,
        backend: str | BuildNetwork | None = None,
        device: str = "auto",
        network: Any = None,
    ) -> Self:
        """Return the estimator that `save` wrote; no code of the file is run.

        Parameters
        ----------
        path : path-like
            The file.
        backend : str or callable, optional
            Another backend than the one it was trained on, or that one if it is your own.
        device : str, default="auto"
            Where to put the network.
        network : object, optional
            The module that was passed as `network`, if it was one of your own: its architecture
            is not in the file.

        Returns
        -------
        DiDiClassifier
            It answers as the saved one did, and can be trained on.

        Examples
        --------
        >>> DiDiClassifier.load("no-such-file.skd")
        Traceback (most recent call last):
        ...
        FileNotFoundError: no-such-file.skd is not a file; expected a model that `save` wrote.
        """
        from skdidicm.saving.persistence import load

        loaded: Self = load(cls, path, backend=backend, device=device, network=network)
        return loaded
