"""
Calibration against a plain network
===================================

Are answers given with 80% confidence right in 80 of 100 cases? Here the same trunk is trained three
ways on 250 noisy digits: as an ordinary classifier, the same with its temperature chosen on
held-out rows, and by label diffusion.
"""

import matplotlib.pyplot as plt
import numpy as np
from skdidicm_torch import plain
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

# %%
# Noise makes the digits hard to read, so that nobody could be sure of all of them.

X_train, y_train, X_test, y_test, names = load_digits_split()
rng = np.random.default_rng(0)


def noisy(images):
    return (images + rng.normal(0, 80, images.shape)).astype(np.float32)


X, y = noisy(X_train[:250]), y_train[:250]
X_held, y_held = noisy(X_train[250:350]), y_train[250:350]
X_new = noisy(np.concatenate([X_test, X_train[400:1000]]))
y_new = np.concatenate([y_test, y_train[400:1000]])

# %%
# `skdidicm_torch.plain` is the trunk alone with cross-entropy: same network, optimiser, shifts of
# the images and number of epochs. Its temperature is fitted on 100 rows that neither training has
# seen.

settings = {"max_epochs": 60, "random_state": 0}
network = DiDiClassifier(
    backend=plain.build_network,
    conditioning="last",
    parameterization="posterior",
    objective="bayes_cross_entropy",
    mixup=0,
    n_draws=1,
    steps=1,
    **settings,
).fit(X, y)
tempered = CalibratedClassifierCV(FrozenEstimator(network), method="temperature")
tempered.fit(X_held, y_held)
didicm = DiDiClassifier(**settings).fit(X, y)

answers = {
    "plain": network.predict_proba(X_new),
    "plain, tempered": tempered.predict_proba(X_new),
    "label diffusion": didicm.predict_proba(X_new),
}

# %%
# A reliability diagram: below the diagonal is overconfidence. Label diffusion needed no held-out
# rows. Much of the gain is due to its mixup of images *and* class probabilities, which a plain
# network may use as well; see :doc:`/results`.

figure, axes = plt.subplots(1, 3, figsize=(9, 3.6), sharey=True, layout="constrained")
edges = np.linspace(0, 1, 9)
for ax, (name, proba) in zip(axes, answers.items(), strict=True):
    confidence, right = proba.max(axis=1), proba.argmax(axis=1) == y_new
    place = np.digitize(confidence, edges[1:-1])
    filled = np.unique(place)
    ax.plot([0, 1], [0, 1], color="gray", linestyle=":")
    ax.plot(
        [confidence[place == i].mean() for i in filled],
        [right[place == i].mean() for i in filled],
        marker="o",
    )
    ax.bar(edges[:-1], np.bincount(place, minlength=8) / len(place), 1 / 8, align="edge", alpha=0.2)
    found = score_probabilities(y_new, proba)
    figures = f"accuracy {found['accuracy']:.1%}, NLL {found['nll']:.2f}, ECE {found['ece']:.1%}"
    ax.set_title(f"{name}\n{figures}", fontsize=8.5)
    ax.set(xlabel="confidence", xlim=(0, 1), ylim=(0, 1))
axes[0].set_ylabel("share of right answers")
plt.show()
