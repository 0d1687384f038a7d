"""The half of DiDiClassifier that fits: from rows and labels to a trained network."""

from collections.abc import Sequence
from copy import deepcopy
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.utils import check_consistent_length

from skdidicm.backend import BuildNetwork, ScoreNetwork
from skdidicm.core import Schedule
from skdidicm.fit import fit as fitting
from skdidicm.fit import trial
from skdidicm.fit import validation as check
from skdidicm.fit.callbacks import CallbackSupportMixin, FitTask, with_callbacks
from skdidicm.fit.defaults import resolve_ensemble, resolve_trial
from skdidicm.fit.training import HistoryRow, NonFiniteLossError, Rows, TrainingPlan
from skdidicm.predictor import Predictor


class Learner(CallbackSupportMixin, Predictor):  # type: ignore[misc]
    """How an estimator is fitted; see `DiDiClassifier`."""

    backend: str | BuildNetwork
    schedule: str | Schedule
    rate_matrix: ArrayLike | None
    max_epochs: int | str
    average: bool | str
    choose_epochs: bool | str
    early_stopping: bool
    validation_fraction: float
    n_iter_no_change: int
    class_weight: dict[Any, float] | str | None
    callbacks: Sequence[Any] | None
    warm_start: bool
    random_state: int | np.random.RandomState | None
    verbose: int
    history_: list[HistoryRow]
    trial_: list[HistoryRow]
    n_iter_: int
    _rng: np.random.Generator

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

        Raises
        ------
        NonFiniteLossError
            When the loss becomes NaN; the best weights before that stay and can predict. After
            any other error, Ctrl-C included, the estimator is what it was before.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0)
        >>> classifier.fit(X[::2], y[::2], X_val=X[1::2], y_val=y[1::2]).n_iter_
        2
        >>> sorted(classifier.history_[-1])
        ['epoch', 'learning_rate', 'loss', 'seconds', 'val_accuracy', 'val_nll']
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

        Examples
        --------
        >>> import numpy as np
        >>> from skdidicm import DiDiClassifier
        >>> X, votes = np.array([[0.0], [1.0], [2.0]]), np.array([[3, 0], [1, 2], [0, 3]])
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0)
        >>> classifier.fit_soft(X, votes / 3, classes=["cat", "dog"]).classes_
        array(['cat', 'dog'], dtype='<U3')
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

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(random_state=0)
        >>> for start in range(0, 150, 50):
        ...     part = slice(start, start + 50)
        ...     classifier = classifier.partial_fit(X[part], y[part], classes=[0, 1, 2])
        >>> classifier.n_iter_
        3
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

    def _fit(self, *arguments: Any, one_epoch: bool = False) -> Self:
        """Fit, and after an error be what it was before."""
        going_on = hasattr(self, "network_") and (one_epoch or self.warm_start)
        with fitting.restored_on_error(self, going_on=going_on):
            self._learn(*arguments, one_epoch=one_epoch, going_on=going_on)
        return self

    @with_callbacks
    def _learn(
        self,
        X: Any,
        q_0: NDArray[np.float64],
        classes: NDArray[Any],
        sample_weight: ArrayLike | None,
        X_val: Any,
        y_val: Any,
        *,
        one_epoch: bool,
        going_on: bool,
    ) -> None:
        check.check_settings(self)
        x = self._check_rows(X, reset=not going_on)
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
        self._n_rows = len(rows.x)  # for notebooks
        plan = fitting.training_plan(self, rows, self.process_, self.schedule_, one_epoch=one_epoch)
        members: list[ScoreNetwork] = []
        self.members_ = members
        if not going_on:
            self.trial_, self.temperature_ = [], 1.0
            if not one_epoch:
                plan, members = self._after_trial(rows, plan)
        counting_on = one_epoch and going_on
        self.history_ = list(self.history_) if counting_on else []
        self.n_iter_ = self.n_iter_ if counting_on else 0
        self.max_epochs_ = self.n_iter_ + plan.max_epochs
        self._rng = deepcopy(self._rng)  # an error leaves the one of an earlier fit as it was
        if len(classes) > 1:
            self._train(rows, held, plan)
            if early and held is not None and self.temperature == "auto":
                self.temperature_ = 1.0  # instead of one from before, if training went on
                self.temperature_ = trial.choose_temperature(self._predict(held.x), held)
        self.members_ = members  # only now: what is looked at in training is the network_ alone

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
            x = self._check_rows(X_val, reset=False)
            labels = check.encode_labels(check.check_labels(y_val), self.classes_)
            check_consistent_length(x, labels)
            return rows, Rows(x, np.eye(len(self.classes_))[labels], np.ones(len(x)))
        if early:
            return fitting.hold_out(rows, self.validation_fraction, self._seeds.split)
        return rows, None

    def _after_trial(
        self, rows: Rows, plan: TrainingPlan
    ) -> tuple[TrainingPlan, list[ScoreNetwork]]:
        """Return the plan with the epochs that a trial chose, if one is wanted, and its members."""
        n, shape = len(rows.x), self.input_shape_
        wanted = resolve_trial(
            self.choose_epochs, self.max_epochs, n, early_stopping=self.early_stopping
        )
        if not wanted or len(self.classes_) < 2:
            return plan, []
        parts = trial.split(rows.target.argmax(axis=1), self._seeds.split)
        folds = [trial.new_fold(self, rows, *part, i) for i, part in enumerate(parts)]
        with fitting.progress("trial", plan.max_epochs, shown=self.verbose > 0) as advance:
            auto = self.temperature == "auto"
            verdict = trial.run_trial(folds, plan, find_temperature=auto, on_epoch=advance)
        self.trial_, self.temperature_ = verdict.rounds, verdict.temperature
        kept = verdict.rounds and resolve_ensemble(self.ensemble, self.network, shape, n)
        members = [fitting.rebuilt(fold.network, self.backend) for fold in folds if kept]
        return plan.ended_after(verdict.epochs), members

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
