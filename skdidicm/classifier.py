"""DiDiClassifier: the scikit-learn estimator."""

from collections.abc import Callable
from os import PathLike
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags, check_consistent_length
from sklearn.utils.validation import check_is_fitted

from skdidicm import fitting
from skdidicm import validation as check
from skdidicm.augmentation import Augmentation
from skdidicm.backend import BuildNetwork
from skdidicm.callbacks import CallbackSupportMixin, FitTask, with_callbacks
from skdidicm.core import Schedule
from skdidicm.defaults import resolve_solver
from skdidicm.prediction import SamplerPlan, in_chunks, initial_law, sample_rows
from skdidicm.training import HistoryRow, NonFiniteLossError, Rows, TrainingPlan

Callback = Callable[["DiDiClassifier", HistoryRow], bool | None]


class DiDiClassifier(CallbackSupportMixin, ClassifierMixin, BaseEstimator):  # type: ignore[misc]
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
        A name that the backend knows ("mlp", "didirn-tiny", "didirn18", "didirn50", ...), or a
        module of its framework that maps images to features. "auto" is "mlp" for tables,
        "didirn-tiny" for images under 64 pixels, else "didirn18".
    conditioning : {"auto", "blocks", "last", "head"}, default="auto"
        Where label and noise enter the network: every block (the paper), the last block, or a
        small head. "auto" is "last", and "head" for a module of your own.
    parameterization : {"auto", "score", "posterior"}, default="auto"
        Whether outputs are log scores or logits of the posterior. "auto" is "posterior" for images
        and "score" for tables, unless the objective decides.
    objective : {"auto", "score_entropy", "cross_entropy"}, default="auto"
        Training loss; "cross_entropy" is Bayes-corrected and needs "posterior". "auto" is that for
        images and "score_entropy" for tables, unless the parameterization decides.
    schedule : {"loglinear", "geometric", "cosine"} or Schedule, default="loglinear"
        Noise over time.
    rate_matrix : array-like (k, k), optional
        Rates at which noise turns class j into class i, [i, j]; default uniform.
    n_draws : int, default="auto"
        Noisy labels per row and update. "auto" is 4 for images; for tables the sum over all labels
        at 8 noise levels where K <= 8, else 16.
    backend : str or callable, default="auto"
        Name of an installed backend, or a `build_network` function of your own.
    device, precision : str, default="auto"
        Where and in which number format the backend computes.
    compile : bool, default=False
        Whether the backend compiles the network; pays off in long runs on a GPU.
    max_epochs, batch_size : int, default="auto"
        Passes over the data and rows per update.
    learning_rate, weight_decay : float, default="auto"
        Peak rate of AdamW, which warms up and falls along a cosine, and its decay.
    augment : {"auto", "shift"} or callable or None, default="auto"
        Changes to every training batch. "shift" moves images by up to a 14th of their size;
        "auto" is that for images and nothing for tables. A callable maps
        (rows, numpy.random.Generator) to changed rows.
    mixup : float, default="auto"
        Blends training rows and their class probabilities in pairs, with shares drawn from
        Beta(mixup, mixup); 0 for none. "auto" is 1 for images and 0 for tables.
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
    network_ : ScoreNetwork
        The trained network.
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
        self.early_stopping = early_stopping
        self.validation_fraction = validation_fraction
        self.n_iter_no_change = n_iter_no_change
        self.class_weight = class_weight
        self.callbacks = callbacks
        self.warm_start = warm_start
        self.random_state = random_state
        self.verbose = verbose

    def fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        X_val: ArrayLike | None = None,
        y_val: ArrayLike | None = None,
    ) -> Self:
        """Train on rows and their class labels.

        Parameters
        ----------
        X : array-like (n, d), (n, height, width) or (n, height, width, channels)
            Rows; images have their channels last.
        y : array-like (n,)
            Class labels: numbers, strings or booleans.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.
        X_val, y_val : array-like, optional
            Rows and labels to validate on after every epoch.

        Returns
        -------
        self
        """
        labels = check.check_labels(y)
        classes = np.unique(labels)
        q_0 = np.eye(len(classes))[check.encode_labels(labels, classes)]
        return self._fit(X, q_0, classes, sample_weight, X_val, y_val)

    def fit_soft(
        self,
        X: ArrayLike,
        q_0: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train on rows whose labels are themselves probabilities, as from several annotators.

        Parameters
        ----------
        X : array-like
            Rows as for `fit`.
        q_0 : array-like (n, k)
            Class probabilities, rows summing to one.
        classes : array-like (k,), optional
            Sorted names of the columns; default 0 to k - 1.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        self
        """
        target = check.check_soft_labels(q_0)
        names = np.arange(target.shape[1]) if classes is None else np.asarray(classes)
        if len(names) != target.shape[1] or not np.array_equal(names, np.unique(names)):
            raise ValueError(
                f"classes has {len(names)} names for {target.shape[1]} columns of q_0; expected "
                "one name for each column, sorted and without repeats."
            )
        return self._fit(X, target, names, sample_weight, None, None)

    def partial_fit(
        self,
        X: ArrayLike,
        y: ArrayLike,
        classes: ArrayLike | None = None,
        sample_weight: ArrayLike | None = None,
    ) -> Self:
        """Train for one epoch at a constant learning rate, on more rows or the same again.

        Parameters
        ----------
        X, y : array-like
            Rows and labels as for `fit`.
        classes : array-like (k,), optional
            All classes that will ever come; needed in the first call.
        sample_weight : array-like (n,), optional
            Weights >= 0 of the rows.

        Returns
        -------
        self
        """
        first = not hasattr(self, "network_")
        if first and classes is None:
            raise ValueError("classes must be passed on the first call to partial_fit.")
        names = self.classes_ if classes is None else np.unique(np.asarray(classes))
        if not first and not np.array_equal(names, self.classes_):
            raise ValueError(
                f"classes={names.tolist()} is not the same as on the last call to partial_fit: "
                f"{self.classes_.tolist()}."
            )
        labels = check.check_labels(y)
        q_0 = np.eye(len(names))[check.encode_labels(labels, names)]
        return self._fit(X, q_0, names, sample_weight, None, None, one_epoch=True)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class (n,) of every row."""
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return P(class | x), (n, k), with columns in the order of `classes_`."""
        return self._sample(X)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return log P(class | x), (n, k); -inf for a class that is ruled out."""
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict_path(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the posterior before the first and after every step, (n, steps + 1, k)."""
        return self._sample(X, path=True)

    def sample_labels(self, X: ArrayLike, n_chains: int | None = None) -> NDArray[np.float64]:
        """Return the shares (n, k) of `n_chains` chains of labels, whatever `sampler` is."""
        chosen = self.n_chains if n_chains is None else n_chains
        check.check_number("n_chains", chosen)
        return self._sample(X, raw=True, sampler="cl", n_chains=chosen)

    def save(self, path: str | PathLike[str]) -> None:
        """Write the fitted estimator to one file of JSON and safetensors, atomically."""
        from skdidicm.persistence import save

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
        """
        from skdidicm.persistence import load

        loaded: Self = load(cls, path, backend=backend, device=device, network=network)
        return loaded

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    @with_callbacks
    def _fit(
        self,
        X: Any,
        q_0: NDArray[np.float64],
        classes: NDArray[Any],
        sample_weight: ArrayLike | None,
        X_val: Any,
        y_val: Any,
        *,
        one_epoch: bool = False,
    ) -> Self:
        going_on = hasattr(self, "network_") and (one_epoch or self.warm_start)
        before = dict(self.__dict__)
        try:
            check.check_settings(self)
            x = check.check_rows(self, X, reset=not going_on)
            rows = fitting.weighted_rows(x, q_0, classes, sample_weight, self.class_weight)
            if not going_on:
                self._build(rows, classes)
            elif not np.array_equal(classes, self.classes_):
                raise ValueError(
                    f"y has classes {classes.tolist()}, but with warm_start=True they must stay "
                    f"those of the first fit: {self.classes_.tolist()}."
                )
            early = self.early_stopping and not one_epoch
            rows, held = self._split(rows, X_val, y_val, early=early)
            plan = fitting.training_plan(
                self, rows, self.process_, self.schedule_, one_epoch=one_epoch
            )
        except BaseException:  # whatever is wrong with the input, an earlier fit stays as it was
            self.__dict__.clear()
            self.__dict__.update(before)
            raise
        if not one_epoch or not going_on:
            self.history_: list[HistoryRow] = []
            self.n_iter_ = 0
        if len(classes) > 1:
            self._train(rows, held, plan)
        return self

    def _build(self, rows: Rows, classes: NDArray[Any]) -> None:
        """Set all fitted attributes, with an untrained network."""
        self._seeds = fitting.Seeds.draw(self.random_state)
        self._rng = np.random.default_rng(self._seeds.training)
        self.classes_ = classes
        self.input_shape_ = rows.x.shape[1:]
        self.process_ = check.make_process(self.rate_matrix, len(classes))
        self.schedule_ = check.make_schedule(self.schedule)
        self.class_prior_ = rows.weight @ rows.target / rows.weight.sum()
        self.network_ = fitting.build_network(self, rows, self.process_, self._seeds.network)

    def _split(
        self, rows: Rows, X_val: Any, y_val: Any, *, early: bool
    ) -> tuple[Rows, Rows | None]:
        """Return the rows to train on and those to validate on."""
        if (X_val is None) != (y_val is None):
            raise ValueError("X_val and y_val belong together; pass both or neither.")
        if X_val is not None:
            x = check.check_rows(self, X_val, reset=False)
            labels = check.encode_labels(check.check_labels(y_val), self.classes_)
            check_consistent_length(x, labels)
            return rows, Rows(x, np.eye(len(self.classes_))[labels], np.ones(len(x)))
        if early:
            return fitting.hold_out(rows, self.validation_fraction, self._seeds.split)
        return rows, None

    def _train(self, rows: Rows, held: Rows | None, plan: TrainingPlan) -> None:
        def validate() -> HistoryRow:
            return {} if held is None else fitting.validation_scores(self._predict(held.x), held)

        task = FitTask(self, plan.max_epochs, rows.x, self.classes_[rows.target.argmax(axis=1)])
        watch = fitting.Watch(
            on_epoch=lambda row: self._on_epoch(row) | task.end_epoch(),
            validate=validate,
            patience=self.n_iter_no_change if self.early_stopping and held is not None else None,
            progress=self.verbose > 0,
        )
        try:
            fitting.run(self.network_, rows, plan, self._rng, watch)
        except NonFiniteLossError:  # what its optimiser has gathered may not be finite either
            self.network_ = fitting.rebuilt(self.network_, self.backend)
            raise
        task.end()

    def _on_epoch(self, row: HistoryRow) -> bool:
        self.n_iter_ += 1
        self.history_.append(row | {"epoch": self.n_iter_})
        answers = [callback(self, self.history_[-1]) for callback in self.callbacks or ()]
        return any(isinstance(answer, bool | np.bool_) and answer for answer in answers)

    def _sample(self, X: Any, **changes: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        check.check_settings(self)
        return self._predict(check.check_rows(self, X, reset=False), **changes)

    def _predict(
        self, x: NDArray[Any], *, path: bool = False, raw: bool = False, **changes: Any
    ) -> NDArray[np.float64]:
        """Return the posterior of checked rows."""
        plan = self._sampler_plan(**changes)
        k = len(self.classes_)
        return in_chunks(
            lambda part: sample_rows(self.network_, part, plan, path=path, raw=raw),
            x,
            (plan.steps + 1, k) if path else (k,),
            rows_cost=plan.n_chains if plan.sampler == "cl" else 1,
        )

    def _sampler_plan(self, **changes: Any) -> SamplerPlan:
        settings = {
            name: getattr(self, name)
            for name in ("sampler", "solver", "steps", "label_rule", "n_chains")
        }
        form = self.network_.config.parameterization
        settings["solver"] = resolve_solver(self.solver, form)
        return SamplerPlan(
            process=self.process_,
            schedule=self.schedule_,
            p_init=initial_law(self.process_, self.schedule_, self.class_prior_),
            seed=self._seeds.sampling,
            **(settings | changes),
        )
