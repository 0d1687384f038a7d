"""
Noisy labels and soft labels
============================

Three annotators label every image, and each is wrong in 45 of 100 cases. `fit_soft` takes class
probabilities computed from their votes instead of a single label. If it is not known how often
annotators are wrong, `fit_votes` estimates it.
"""

import matplotlib.pyplot as plt
import numpy as np

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

# %%
# The images are real; the errors of the annotators are simulated, so that the true class is known.

X_train, y_train, X_test, y_test, names = load_digits_split()
X, y, k, wrong = X_train[:300], y_train[:300], 10, 0.45
rng = np.random.default_rng(0)
seen = np.where(
    rng.random((3, 300)) < wrong,
    (y + rng.integers(1, k, (3, 300))) % k,  # any other class
    y,
)

# %%
# Bayes' rule gives the class probabilities: each vote multiplies them by P(vote | class).

likelihood = np.where(np.eye(k, dtype=bool), 1 - wrong, wrong / (k - 1))  # [vote, class]
q_0 = likelihood[seen].prod(axis=0)
q_0 /= q_0.sum(axis=1, keepdims=True)
majority = q_0.argmax(axis=1)
print(f"wrong labels of one annotator: {np.mean(seen[0] != y):.0%}")
print(f"wrong labels of the majority: {np.mean(majority != y):.0%}")

# %%
# The same training with three kinds of labels.

settings = {"max_epochs": 30, "random_state": 0}
fitted = {
    "one annotator": DiDiClassifier(**settings).fit(X, seen[0]),
    "majority": DiDiClassifier(**settings).fit(X, majority),
    "soft labels": DiDiClassifier(**settings).fit_soft(X, q_0),
}
scores = {name: score_probabilities(y_test, c.predict_proba(X_test)) for name, c in fitted.items()}

figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
for ax, key, title in zip(axes, ("accuracy", "nll"), ("accuracy", "NLL (nats)"), strict=True):
    bars = ax.bar(scores.keys(), [row[key] for row in scores.values()], color="tab:blue", width=0.6)
    ax.bar_label(bars, fmt="%.2f")
    ax.set_title(title)
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# The class probabilities of some images on which the annotators disagree. The network is not
# trained to be certain about them.

doubtful = q_0.max(axis=1).argsort()[:6]
figure, axes = plt.subplots(2, 6, figsize=(9, 3.2), layout="constrained")
for (above, below), i in zip(axes.T, doubtful, strict=True):
    above.imshow(X[i], cmap="gray_r")
    above.set(xticks=[], yticks=[])
    above.set_title(f"votes: {', '.join(map(str, seen[:, i]))}", fontsize=9)
    below.bar(range(k), q_0[i], color=["tab:blue" if c == y[i] else "silver" for c in range(k)])
    below.set(xticks=range(k), yticks=[], ylim=(0, 1))
    below.tick_params(labelsize=7)
plt.show()
