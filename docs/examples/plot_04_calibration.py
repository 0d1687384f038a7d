"""
Calibration against a plain network
===================================

Are predictions with 80% confidence correct in 80 of 100 cases? This example compares three models
with the same trunk, trained on 250 noisy digits: a plain network, the same network with temperature
scaling on held-out images, and label diffusion.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

# %%
# Noise makes the digits hard to read, so that not all of them can be classified with confidence.

X_train, y_train, X_test, y_test, names = load_digits_split()
rng = np.random.default_rng(0)


def noisy(images):
    return (images + rng.normal(0, 80, images.shape)).astype(np.float32)


X, y = noisy(X_train[:250]), y_train[:250]
X_held, y_held = noisy(X_train[250:350]), y_train[250:350]
X_new = noisy(np.concatenate([X_test, X_train[400:1000]]))
y_new = np.concatenate([y_test, y_train[400:1000]])

# %%
# With `conditioning="none"` and `objective="cross_entropy"`, the classifier is a plain network with
# the same trunk, optimiser, image shifts and number of epochs. Its temperature is fitted on 100
# held-out images.

settings = {"max_epochs": 60, "random_state": 0}
network = DiDiClassifier(
    conditioning="none",
    objective="cross_entropy",
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
# A reliability diagram: points below the diagonal mean overconfidence. Label diffusion needed no
# held-out images. Much of its gain comes from mixup of images *and* class probabilities, which also
# works for a plain network; see :doc:`/results`.

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
axes[0].set_ylabel("accuracy")
plt.show()
