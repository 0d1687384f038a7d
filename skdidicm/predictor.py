"""The half of DiDiClassifier that predicts: a fitted network behind scikit-learn's methods."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import Tags
from sklearn.utils.validation import check_is_fitted

from skdidicm.backend import ScoreNetwork
from skdidicm.core import Process, SamplerPlan, Schedule
from skdidicm.fit import validation as check
from skdidicm.fit.defaults import resolve_solver
from skdidicm.fit.fit import Seeds
from skdidicm.predict.prediction import (
    FiniteScores,
    in_chunks,
    initial_law,
    sample_rows,
)
from skdidicm.predict.temperature import tempered


class Predictor(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """What every fitted estimator can do; see `DiDiClassifier`."""

    n_chains: int
    temperature: float | str
    temperature_: float
    ensemble: bool | str
    network_: ScoreNetwork
    members_: list[ScoreNetwork]
    classes_: NDArray[Any]
    class_prior_: NDArray[np.float64]
    process_: Process
    schedule_: Schedule
    _seeds: Seeds

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the most probable class of every row.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.

        Returns
        -------
        ndarray (n,)
            Class labels, of the kind that `fit` was given.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> names = np.array(["setosa", "versicolor", "virginica"])[y]
        >>> DiDiClassifier(max_epochs=30, random_state=0).fit(X, names).predict(X[:2])
        array(['setosa', 'setosa'], dtype='<U10')
        """
        best = self.predict_proba(X).argmax(axis=1)
        return np.asarray(self.classes_[best])

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return P(class | x).

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.

        Returns
        -------
        ndarray (n, k)
            Positive numbers; rows sum to one, columns are in the order of `classes_`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> p = DiDiClassifier(max_epochs=30, random_state=0).fit(X, y).predict_proba(X[:2])
        >>> p.sum(axis=1).round(6)
        array([1., 1.])
        """
        return self._sample(X)

    def predict_log_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return log P(class | x).

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.

        Returns
        -------
        ndarray (n, k)
            The logarithm of `predict_proba`.

        Examples
        --------
        >>> import numpy as np
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> np.allclose(np.exp(classifier.predict_log_proba(X)), classifier.predict_proba(X))
        True
        """
        with np.errstate(divide="ignore"):
            return np.asarray(np.log(self.predict_proba(X)))

    def predict_path(self, X: ArrayLike) -> NDArray[np.float64]:
        """Return the posterior before the first and after every step.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.

        Returns
        -------
        ndarray (n, steps + 1, k)
            It begins in noise; its last step is `predict_proba`.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(steps=4, max_epochs=2, random_state=0).fit(X, y)
        >>> path = classifier.predict_path(X[:2])
        >>> path.shape
        (2, 5, 3)
        >>> path[0, 0].round(3)
        array([0.333, 0.333, 0.333])
        """
        return self._sample(X, path=True)

    def sample_labels(self, X: ArrayLike, n_chains: int | None = None) -> NDArray[np.float64]:
        """Return the shares of chains of labels that end in each class, whatever `sampler` is.

        Parameters
        ----------
        X : array-like
            Rows of the shape that `fit` was given.
        n_chains : int, optional
            Chains per row, >= 1; default the parameter `n_chains`.

        Returns
        -------
        ndarray (n, k)
            Multiples of 1 / n_chains; with an ensemble their mean over its networks.

        Examples
        --------
        >>> from sklearn.datasets import load_iris
        >>> from skdidicm import DiDiClassifier
        >>> X, y = load_iris(return_X_y=True)
        >>> classifier = DiDiClassifier(max_epochs=2, random_state=0).fit(X, y)
        >>> shares = classifier.sample_labels(X[:2], n_chains=4)
        >>> (4 * shares).sum(axis=1)
        array([4., 4.])
        """
        chosen = self.n_chains if n_chains is None else n_chains
        check.check_number("n_chains", chosen)
        return self._sample(X, raw=True, sampler="cl", n_chains=chosen)

    @property
    def _networks(self) -> list[ScoreNetwork]:
        return [self.network_, *(self.members_ if self.ensemble else ())]

    @property
    def _used_temperature(self) -> float:
        return self.temperature_ if isinstance(self.temperature, str) else self.temperature

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "network_")

    def __sklearn_tags__(self) -> Tags:
        tags: Tags = super().__sklearn_tags__()
        tags.input_tags.three_d_array = True
        return tags

    def _check_rows(self, X: Any, *, reset: bool) -> NDArray[Any]:
        return check.check_rows(self, X, reset=reset)

    def _sample(self, X: Any, **changes: Any) -> NDArray[np.float64]:
        check_is_fitted(self)
        check.check_settings(self)
        return self._predict(self._check_rows(X, reset=False), **changes)

    def _predict(
        self, x: NDArray[Any], *, path: bool = False, raw: bool = False, **changes: Any
    ) -> NDArray[np.float64]:
        """Return the posterior of checked rows: the mean over the networks, at the temperature."""
        plan, finite = self._sampler_plan(**changes), FiniteScores()
        k, temperature = len(self.classes_), self._used_temperature

        def sample(part: NDArray[Any]) -> NDArray[np.float64]:
            answers = [
                sample_rows(network, part, plan, path=path, raw=raw, finite=finite)
                for network in self._networks
            ]
            law: NDArray[np.float64] = np.mean(answers, axis=0)
            return law if raw or temperature == 1 else tempered(law, temperature)

        return in_chunks(
            sample,
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
