"""The posterior after every reverse step, from noise to the prediction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from skdidicm.plotting.canvas import OTHER_COLOR, TRUE_COLOR, WRONG_COLOR, grid, spread

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure, SubFigure
    from numpy.typing import ArrayLike, NDArray


class PosteriorPathDisplay:
    """Class probabilities of some rows after every reverse step.

    One row per image: the image, then the probabilities of its leading classes at several steps.
    The true class is blue; a wrongly predicted class is orange.

    Parameters
    ----------
    path : array-like (n, steps + 1, k)
        Class probabilities at every step, as from `DiDiClassifier.predict_path`.
    class_names : sequence of k str
        A name for every column.
    images : array-like (n, h, w) or (n, h, w, c), optional
        Shown on the left.
    y_true : array-like (n,) of int, optional
        Column of each row's true class.

    Attributes
    ----------
    figure_ : matplotlib Figure
        The figure, after plotting.
    axes_ : array of matplotlib Axes (n, panels)
        One row of axes per row of `path`; the first is the image, if there are images.

    Examples
    --------
    >>> from skdidicm.plotting import PosteriorPathDisplay
    >>> path = [[[0.5, 0.5], [0.8, 0.2], [0.9, 0.1]]]
    >>> display = PosteriorPathDisplay(path, ["cat", "dog"]).plot()
    >>> display.axes_.shape
    (1, 3)
    """

    figure_: Figure | SubFigure
    axes_: NDArray[Any]

    def __init__(
        self,
        path: ArrayLike,
        class_names: Sequence[str],
        images: ArrayLike | None = None,
        y_true: ArrayLike | None = None,
    ) -> None:
        self.path = np.asarray(path)
        self.class_names = [str(name) for name in class_names]
        self.images = None if images is None else np.asarray(images)
        self.y_true = None if y_true is None else np.asarray(y_true)
        self._check()

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: ArrayLike,
        y: ArrayLike | None = None,
        *,
        class_names: Sequence[str] | None = None,
        ax: Axes | None = None,
        **plot_settings: Any,
    ) -> PosteriorPathDisplay:
        """Plot the path of a fitted `DiDiClassifier` for a few rows.

        Parameters
        ----------
        estimator : DiDiClassifier
            Fitted.
        X : array-like
            Rows to show; images are drawn beside their probabilities.
        y : array-like (n,), optional
            Their true labels.
        class_names : sequence of str, optional
            Names of the classes in the order of `estimator.classes_`; by default their labels.
        ax : matplotlib Axes, optional
            See `plot`, which takes `plot_settings` too.
        """
        X, classes = np.asarray(X), np.asarray(estimator.classes_)
        names = classes.tolist() if class_names is None else class_names
        index = None if y is None else _columns_of(y, classes)
        images = X if X.ndim > 2 else None
        display = cls(estimator.predict_path(X), names, images, index)
        return display.plot(ax, **plot_settings)

    def figure_size(self, max_panels: int = 5) -> tuple[float, float]:
        """Return the width and height of the figure in inches."""
        n, k = len(self.path), len(self.class_names)
        panels = len(spread(self.path.shape[1], max_panels))
        longest = max(map(len, self.class_names))
        width = (1.5 if self.images is not None else 0.3) + 0.08 * longest + 1.35 * panels
        return width, 0.5 + n * max(1.35, 0.35 + 0.2 * min(k, 6))

    def plot(
        self, ax: Axes | None = None, *, top: int = 5, max_panels: int = 5
    ) -> PosteriorPathDisplay:
        """Draw the picture.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Axes to replace by the panels; by default a new pyplot figure is made.
        top : int, default=5
            Number of the most probable classes to show for each row, besides the true one.
        max_panels : int, default=5
            Maximum number of steps to show, always with the first and the last.

        Returns
        -------
        PosteriorPathDisplay
            This object.
        """
        steps = spread(self.path.shape[1], max_panels)
        with_images = self.images is not None
        widths = ([1.1] if with_images else []) + [1.0] * len(steps)
        self.figure_, self.axes_ = grid(ax, len(self.path), widths, self.figure_size(max_panels))
        for i, row_axes in enumerate(self.axes_):
            if with_images:
                self._draw_image(row_axes[0], i)
            self._draw_bars(row_axes[with_images:], i, steps, self._leading(i, top))
        return self

    def _check(self) -> None:
        n, k = len(self.path), len(self.class_names)
        if self.path.ndim != 3 or self.path.shape[2] != k or not n:
            raise ValueError(
                f"path has shape {self.path.shape} for {k} class names; "
                "expected (n, steps + 1, k) with at least one row."
            )
        for name, value in (("images", self.images), ("y_true", self.y_true)):
            if value is not None and len(value) != n:
                raise ValueError(
                    f"{name} has {len(value)} rows but path has {n}; expected one for each."
                )

    def _leading(self, i: int, top: int) -> list[int]:
        """Return the columns to show for row i, ordered by their final probability."""
        order = np.argsort(-self.path[i, -1], kind="stable").tolist()
        shown: list[int] = order[: max(1, top)]
        if self.y_true is not None and self.y_true[i] not in shown:
            shown.append(int(self.y_true[i]))
        return shown

    def _draw_image(self, ax: Axes, i: int) -> None:
        assert self.images is not None
        ax.imshow(_displayable(self.images[i]), cmap="gray", interpolation="nearest")
        ax.set_xticks([])
        ax.set_yticks([])
        ax.spines[:].set_visible(False)
        if self.y_true is not None:
            ax.set_title(f"true: {self.class_names[self.y_true[i]]}", fontsize=9, color=TRUE_COLOR)

    def _draw_bars(self, axes: Any, i: int, steps: list[int], shown: list[int]) -> None:
        colors = [self._color(i, column) for column in shown]
        for ax, step in zip(axes, steps, strict=True):
            values = self.path[i, step, shown]
            ax.barh(range(len(shown)), values, color=colors, height=0.75)
            for place, (value, color) in enumerate(zip(values, colors, strict=True)):
                _write_value(ax, place, value, color)
            _tidy(ax, len(shown))
            if i == 0:
                ax.set_title(_step_title(step, steps[-1]), fontsize=9)
        axes[0].set_yticks(range(len(shown)), [self.class_names[c] for c in shown], fontsize=8)
        for label, color in zip(axes[0].get_yticklabels(), colors, strict=True):
            label.set_color("black" if color == OTHER_COLOR else color)

    def _color(self, i: int, column: int) -> str:
        answer = int(self.path[i, -1].argmax())
        if self.y_true is None:
            return TRUE_COLOR if column == answer else OTHER_COLOR
        if column == self.y_true[i]:
            return TRUE_COLOR
        return WRONG_COLOR if column == answer else OTHER_COLOR


def _step_title(step: int, last: int) -> str:
    if step == 0:
        return "start"
    return f"step {step}" if step < last else f"step {step}: prediction"


def _write_value(ax: Axes, place: int, value: float, bar_color: str) -> None:
    """Write a probability beside its bar, or inside it if there is no space to the right."""
    inside = value > 0.7
    ax.text(
        value - 0.03 if inside else value + 0.03,
        place,
        f"{100 * value:.0f}%" if value >= 0.005 else "",
        ha="right" if inside else "left",
        va="center",
        fontsize=7,
        color="white" if inside and bar_color != OTHER_COLOR else "black",
    )


def _tidy(ax: Axes, n_bars: int) -> None:
    ax.set_xlim(0, 1)
    ax.set_ylim(n_bars - 0.4, -0.6)
    ax.set_xticks([])
    ax.set_yticks([])
    ax.spines[["top", "right", "bottom"]].set_visible(False)


def _displayable(image: NDArray[Any]) -> NDArray[Any]:
    """Return an image for matplotlib: (h, w), or (h, w, 3) in [0, 1]."""
    if image.ndim == 3 and image.shape[2] not in (3, 4):
        image = image.mean(axis=2)
    if image.ndim == 2 or image.dtype == np.uint8:
        return image
    low, high = min(0.0, float(image.min())), max(1.0, float(image.max()))
    return (image - low) / (high - low)


def _columns_of(y: ArrayLike, classes: NDArray[Any]) -> NDArray[np.int64]:
    """Return the column of every label."""
    column = {label: i for i, label in enumerate(classes.tolist())}
    labels = np.asarray(y).tolist()
    unknown = sorted({str(label) for label in labels if label not in column})
    if unknown:
        raise ValueError(
            f"y holds labels that the estimator was not fitted on: {unknown[:5]}; expected labels "
            f"among its classes_, {classes.tolist()[:10]}."
        )
    return np.array([column[label] for label in labels])
