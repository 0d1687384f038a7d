"""Callbacks of a fit: plain functions, and scikit-learn's protocol from version 1.9 on.

With that protocol `set_callbacks` takes callbacks such as `sklearn.callback.ScoringMonitor`; each
epoch is a task of `fit`. With earlier versions the estimator has no `set_callbacks`.
"""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from skdidicm.fit.training import HistoryRow

__all__ = ["CallbackSupportMixin", "FitTask", "with_callbacks"]

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Replaces scikit-learn's mixin in versions before 1.9; it has no methods."""

    def _with_callbacks(method: Any) -> Any:
        return method


def with_callbacks(method: Method) -> Method:
    """Return a method that tears down scikit-learn's callbacks when it returns or raises."""
    return cast("Method", _with_callbacks(method))


class FitTask:
    """Calls the callbacks of one fit, as an `Observer` of its training.

    Plain callbacks are called as callback(estimator, history_row) and stop training by returning
    True. scikit-learn's own protocol needs the estimator and its training data.
    """

    def __init__(self, estimator: Any, plain: Sequence[Any], x: Any, y: NDArray[Any]) -> None:
        self._estimator, self._plain, self._data = estimator, plain, {"X": x, "y": y}
        self._left = 0
        self._fit: Any = None
        self._epoch: Any = None

    @property
    def watches(self) -> bool:
        """Whether there is a callback."""
        return bool(self._plain or getattr(self._estimator, "_skl_callbacks", None))

    def begin(self, n_epochs: int) -> None:
        """Report the start of training, for at most `n_epochs` epochs."""
        self._left = n_epochs
        if getattr(self._estimator, "_skl_callbacks", None):
            self._fit = self._estimator._init_callback_context(max_subtasks=n_epochs)
            self._fit.call_on_fit_task_begin(estimator=self._estimator, **self._data)
            self._begin_epoch()

    def end_epoch(self, row: HistoryRow) -> bool:
        """Report the end of an epoch; return whether a callback stops training."""
        answers = [callback(self._estimator, row) for callback in self._plain]
        stop = any(isinstance(answer, bool | np.bool_) and answer for answer in answers)
        if self._fit is None:
            return stop
        # The estimator itself can predict, so no attribute must be set on a copy.
        stop |= bool(
            self._epoch.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._data
            )
        )
        self._left -= 1
        if self._left and not stop:
            self._begin_epoch()
        return stop

    def end(self) -> None:
        """Report the end of training."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._data
            )

    def _begin_epoch(self) -> None:
        self._epoch = self._fit.subcontext(task_name="epoch")
        self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._data)
