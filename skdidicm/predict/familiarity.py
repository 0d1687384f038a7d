"""How like the training rows a row is: its distance from them among a network's features."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from skdidicm.backend import ReturnsFeatures
from skdidicm.predict.prediction import in_chunks

_MOST_ROWS = 2000  # training rows that say what is familiar
_MOST_FEATURES = 128  # of more, as of images, so many principal components; 64 find less


@dataclass(frozen=True)
class Familiar:
    """What rows of the training set look like to one network.

    Attributes
    ----------
    centre : ndarray (f,)
        Mean of the features.
    whiten : ndarray (f, p)
        Maps centred features to coordinates in which every class has the covariance 1.
    classes : ndarray (c, p)
        Means of the classes in these coordinates.
    own : ndarray (m,)
        Distances of rows that the network has not seen, increasing.
    """

    centre: NDArray[np.float32]
    whiten: NDArray[np.float32]
    classes: NDArray[np.float32]
    own: NDArray[np.float64]

    def distances(self, features: NDArray[np.float32]) -> NDArray[np.float64]:
        """Return the Mahalanobis distance (n,) of rows from the nearest class."""
        from sklearn.metrics import pairwise_distances

        with np.errstate(over="ignore", invalid="ignore"):
            z = (features - self.centre).astype(np.float64) @ self.whiten
        far = np.asarray(~np.isfinite(z).all(axis=1))
        found = pairwise_distances(np.where(far[:, None], 0.0, z), self.classes).min(axis=1)
        return np.where(far, np.inf, found)


def learn_familiar(
    network: ReturnsFeatures,
    x: NDArray[Any],
    labels: NDArray[np.integer],
    unseen: NDArray[Any],
    rng: np.random.Generator,
) -> Familiar:
    """Return what training rows look like, and how far rows are that the network has not seen.

    Parameters
    ----------
    network : ReturnsFeatures
        Trained.
    x, labels : ndarray (n, ...), (n,)
        Rows that it was trained on, and their classes. Of many rows some are drawn.
    unseen : ndarray (m, ...)
        Rows that it was not trained on.
    rng : numpy.random.Generator
        Draws the rows.

    Notes
    -----
    The Mahalanobis distance with one covariance for all classes (Lee et al. 2018), which Ledoit and
    Wolf's estimator shrinks. Features that are not finite count as infinitely far.
    """
    from sklearn.covariance import LedoitWolf
    from sklearn.decomposition import PCA

    if len(x) > _MOST_ROWS:
        some = rng.choice(len(x), _MOST_ROWS, replace=False)
        x, labels = x[some], labels[some]
    features = features_of(network, x)
    centre = features.mean(axis=0)
    scale = features.std(axis=0)
    base = np.diag(1 / np.where(scale > 0, scale, 1)).astype(np.float64)
    z = (features - centre) @ base
    if z.shape[1] > _MOST_FEATURES:
        n_components = min(_MOST_FEATURES, len(z) - 1)
        pca = PCA(n_components, random_state=0, svd_solver="randomized").fit(z)
        base, z = base @ pca.components_.T, z @ pca.components_.T
    present, index = np.unique(labels, return_inverse=True)
    means = np.stack([z[index == c].mean(axis=0) for c in range(len(present))])
    spread, precision = z - means[index], np.eye(z.shape[1])
    if spread.any():  # else no direction differs from another
        precision = LedoitWolf(assume_centered=True).fit(spread).precision_
    factor = np.linalg.cholesky(precision)
    familiar = Familiar(
        centre=centre.astype(np.float32),
        whiten=(base @ factor).astype(np.float32),
        classes=(means @ factor).astype(np.float32),
        own=np.empty(0),
    )
    own = np.sort(familiar.distances(features_of(network, unseen)))
    return Familiar(familiar.centre, familiar.whiten, familiar.classes, own)


def familiarity(
    all_familiar: list[Familiar], features: list[NDArray[np.float32]]
) -> NDArray[np.float64]:
    """Return the cross-conformal p-value of rows, given their features by every fold's network.

    It is the share of training rows, the new one among them, that are at least as far from the
    training rows of the network that has not seen them.
    """
    above, m = np.zeros(len(features[0])), 0
    for familiar, found in zip(all_familiar, features, strict=True):
        own = familiar.own
        above += len(own) - np.searchsorted(own, familiar.distances(found), side="left")
        m += len(own)
    p: NDArray[np.float64] = (1 + above) / (1 + m)
    return p


def features_of(network: ReturnsFeatures, x: NDArray[Any]) -> NDArray[np.float32]:
    """Return the features of rows (n, f), in chunks."""

    def features(part: NDArray[Any]) -> NDArray[np.float64]:
        return network.features(np.ascontiguousarray(part)).astype(np.float64)

    width = features(x[:1]).shape[1]
    return in_chunks(features, x, (width,)).astype(np.float32)
