"""
Few data
========

This example compares label diffusion, a plain network with the same trunk, and logistic regression
on 50 to 200 noisy images.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

X_train, y_train, X_test, y_test, names = load_digits_split()
rng = np.random.default_rng(0)
X_train, X_test = (
    (images + rng.normal(0, 80, images.shape)).astype(np.float32) for images in (X_train, X_test)
)


def flatten(images):
    return images.reshape(len(images), -1) / 255


methods = {
    "label diffusion": DiDiClassifier(max_epochs=60, random_state=0),
    "plain network": DiDiClassifier(
        conditioning="none",
        objective="cross_entropy",
        mixup=0,
        n_draws=1,
        steps=1,
        max_epochs=60,
        random_state=0,
    ),
    "logistic regression": make_pipeline(
        FunctionTransformer(flatten), LogisticRegression(max_iter=1000)
    ),
}

# %%
# All are evaluated on 360 test images.

sizes = (50, 100, 200)
curves = {}
for name, method in methods.items():
    curves[name] = []
    for n in sizes:
        method.fit(X_train[:n], y_train[:n])
        proba = method.predict_proba(X_test)
        curves[name].append(score_probabilities(y_test, proba, method.classes_))

# %%
# With one seed and 360 test images, differences of one or two points are not significant. Noisy
# images of 64 pixels are almost a table, and logistic regression, which cannot memorise them,
# catches up. Without noise, the two networks are level and better. :doc:`/results` has larger
# images.

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for ax, key, title in zip(axes, ("accuracy", "nll"), ("accuracy", "NLL (nats)"), strict=True):
    for (name, found), marker in zip(curves.items(), "os^", strict=True):
        ax.plot(sizes, [row[key] for row in found], marker=marker, label=name)
    ax.set_xscale("log")
    ax.set_xticks(sizes, map(str, sizes))
    ax.minorticks_off()
    ax.set(xlabel="training images", ylabel=title)
    ax.grid(alpha=0.3)
axes[1].legend(frameon=False)
plt.show()
