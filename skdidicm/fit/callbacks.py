"""scikit-learn's callback protocol, which came with version 1.9, where it is there.

`set_callbacks` then takes callbacks such as `sklearn.callback.ScoringMonitor`; each epoch is a task
of `fit`. With earlier versions the estimator simply has no `set_callbacks`.
"""

from collections.abc import Callable
from typing import Any, TypeVar, cast

from numpy.typing import NDArray

__all__ = ["CallbackSupportMixin", "FitTask", "with_callbacks"]

Method = TypeVar("Method", bound=Callable[..., Any])

try:
    from sklearn.callback import CallbackSupportMixin
    from sklearn.callback import with_callbacks as _with_callbacks
except ImportError:

    class CallbackSupportMixin:  # type: ignore[no-redef]
        """Stands in for scikit-learn's mixin; offers nothing."""

    def _with_callbacks(method: Any) -> Any:
        return method


def with_callbacks(method: Method) -> Method:
    """Return a method that tears down scikit-learn's callbacks when it ends, however it ends."""
    return cast("Method", _with_callbacks(method))


class FitTask:
    """Tells an estimator's scikit-learn callbacks of one fit and of its epochs."""

    def __init__(self, estimator: Any, n_epochs: int, x: NDArray[Any], y: NDArray[Any]) -> None:
        self._estimator, self._data = estimator, {"X": x, "y": y}
        self._left = n_epochs
        self._fit: Any = None
        self._epoch: Any = None
        if getattr(estimator, "_skl_callbacks", None):
            self._fit = estimator._init_callback_context(max_subtasks=n_epochs)
            self._fit.call_on_fit_task_begin(estimator=estimator, **self._data)
            self._begin_epoch()

    def end_epoch(self) -> bool:
        """Tell of the end of an epoch, and return whether a callback wants to stop."""
        if self._fit is None:
            return False
        # No attribute need be set on a copy: the estimator itself is ready to predict.
        stop = bool(
            self._epoch.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._data
            )
        )
        self._left -= 1
        if self._left and not stop:
            self._begin_epoch()
        return stop

    def end(self) -> None:
        """Tell of the end of the fit."""
        if self._fit is not None:
            self._fit.call_on_fit_task_end(
                estimator=self._estimator, reconstruction_attributes={}, **self._data
            )

    def _begin_epoch(self) -> None:
        if self._fit is not None:
            self._epoch = self._fit.subcontext(task_name="epoch")
            self._epoch.call_on_fit_task_begin(estimator=self._estimator, **self._data)
