"""
Accuracy against steps, for both samplers
=========================================

Steps, sampler and solver affect prediction only. Fit once, then choose them on held-out data.
"""

import matplotlib.pyplot as plt

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

X_train, y_train, X_test, y_test, names = load_digits_split()
X_val, y_val = X_test[:250], y_test[:250]

# %%
# A network that learns *scores*, as in the paper, needs several steps. The sampler "cp" propagates
# all class probabilities with one network call per step. The sampler "cl" simulates chains of
# labels, here 16 with 16 calls per step, and returns the share of chains in each class.

steps = (1, 2, 4, 8, 16, 32)
score = DiDiClassifier(
    parameterization="score", objective="score_entropy", mixup=0, max_epochs=40, random_state=0
)
score.fit(X_train[:300], y_train[:300])


def figures(classifier, **sampler):
    """Return the scores for every number of steps."""
    found = []
    for n in steps:
        proba = classifier.set_params(steps=n, **sampler).predict_proba(X_val)
        found.append(score_probabilities(y_val, proba, classifier.classes_))
    return found


curves = {
    "scores, CP": figures(score, sampler="cp"),
    "scores, CL with 16 chains": figures(score, sampler="cl", n_chains=16),
}

# %%
# A network that learns the *posterior*, the default for many images, outputs P(class | image) at
# every noise level. With the exact Bayes step, one or two steps are enough.

posterior = DiDiClassifier(parameterization="posterior", max_epochs=30, random_state=0)
posterior.fit(X_train[:300], y_train[:300])
curves["posterior, CP"] = figures(posterior, sampler="cp", solver="bridge")

# %%
# Accuracy converges before the probabilities do: with scores, two steps find the class, but more
# are needed for the right confidence. Sixteen chains only return multiples of 1/16, which increases
# the NLL of "cl".

figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for ax, key, title in zip(axes, ("accuracy", "nll"), ("accuracy", "NLL (nats)"), strict=True):
    for (label, found), marker in zip(curves.items(), "o^s", strict=True):
        ax.plot(steps, [row[key] for row in found], marker=marker, label=label)
    ax.set_xscale("log", base=2)
    ax.set_xticks(steps, map(str, steps))
    ax.set(xlabel="steps", ylabel=title)
    ax.grid(alpha=0.3)
axes[1].legend(frameon=False)
plt.show()
