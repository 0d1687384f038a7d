"""The training images whose labels are least likely to be right."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import ArrayLike

_COLUMNS = 6
_INCHES = 1.5  # of a picture


class DoubtfulLabelsDisplay:
    """Images with doubtful labels, the worst first: the given label, and what is likelier.

    Parameters
    ----------
    images : array-like (m, height, width) or (m, height, width, channels)
        The images, in the order to show.
    given, likelier : array-like (m,)
        Given labels, and the classes that are likelier.
    probability : array-like (m,)
        Probabilities that the given labels are right.

    Attributes
    ----------
    axes_ : ndarray of matplotlib Axes (m,)
        One for each image, after plotting.
    figure_ : matplotlib Figure
        Holds the axes.

    Examples
    --------
    >>> import numpy as np
    >>> from skdidicm.plotting import DoubtfulLabelsDisplay
    >>> display = DoubtfulLabelsDisplay(np.zeros((2, 8, 8)), ["1", "7"], ["7", "1"], [0.1, 0.3])
    >>> len(display.plot().axes_)
    2
    """

    axes_: Any
    figure_: Figure

    def __init__(
        self,
        images: ArrayLike,
        given: ArrayLike,
        likelier: ArrayLike,
        probability: ArrayLike,
    ) -> None:
        self.images, self.given = np.asarray(images), np.asarray(given)
        self.likelier, self.probability = np.asarray(likelier), np.asarray(probability)
        m = len(self.images)
        if self.images.ndim not in (3, 4) or not (
            self.given.shape == self.likelier.shape == self.probability.shape == (m,)
        ):
            raise ValueError(
                f"images has shape {self.images.shape}, and given, likelier and probability have "
                f"shapes {self.given.shape}, {self.likelier.shape} and {self.probability.shape}; "
                "expected (m, height, width[, channels]), and (m,) for the others."
            )

    @classmethod
    def from_estimator(
        cls, estimator: Any, X: ArrayLike, y: ArrayLike, *, n_images: int = 12
    ) -> DoubtfulLabelsDisplay:
        """Plot the worst of the images that an estimator was trained on.

        Parameters
        ----------
        estimator : DiDiClassifier
            Fitted with held-out rows; its `label_quality_` is shown.
        X, y : array-like
            The training images and labels.
        n_images : int, default=12
            Number of images.

        Returns
        -------
        DoubtfulLabelsDisplay
        """
        quality = estimator.label_quality_
        x, labels = np.asarray(X), np.asarray(y)
        if not len(x) == len(labels) == len(quality.probability):
            raise ValueError(
                f"X has {len(x)} rows and y {len(labels)}, but the estimator was trained on "
                f"{len(quality.probability)}; pass its training rows and labels."
            )
        order = np.argsort(quality.probability)[:n_images]  # NaN is last
        order = order[~np.isnan(quality.probability[order])]
        likelier = np.asarray(quality.likelier)[order]
        return cls(x[order], labels[order], likelier, quality.probability[order]).plot()

    def plot(self) -> DoubtfulLabelsDisplay:
        """Draw the images in a new figure.

        Returns
        -------
        DoubtfulLabelsDisplay
        """
        import matplotlib.pyplot as plt

        m = len(self.images)
        columns = min(m, _COLUMNS)
        rows = -(-m // columns)
        self.figure_, grid = plt.subplots(
            rows,
            columns,
            squeeze=False,
            figsize=(_INCHES * columns, 1.3 * _INCHES * rows),
            layout="constrained",
        )
        axes: list[Axes] = list(grid.ravel())
        for ax in axes:
            ax.set_axis_off()
        for i, ax in enumerate(axes[:m]):
            ax.imshow(self.images[i], cmap="gray_r" if self.images.ndim == 3 else None)
            ax.set_title(
                f"{self.given[i]}: {self.probability[i]:.0%}\nrather {self.likelier[i]}", fontsize=9
            )
        self.axes_ = np.array(axes[:m])
        return self
