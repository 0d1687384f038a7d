"""
Wrong labels: find them, and learn through them
===============================================

A fifth of the labels of a table are wrong. `label_quality_` says which ones to look at first, and
`label_noise` learns the true class in spite of them.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.model_selection import train_test_split

from skdidicm import DiDiClassifier
from skdidicm.metrics import score_probabilities

# %%
# The errors are simulated, so that the true classes are known.

X, y = load_wine(return_X_y=True)
X, X_test, y, y_test = train_test_split(X, y, train_size=120, stratify=y, random_state=0)
rng = np.random.default_rng(0)
wrong = rng.random(len(y)) < 0.2
given = np.where(wrong, (y + rng.integers(1, 3, len(y))) % 3, y)

# %%
# Three fits: as if all labels were right, with the rate of wrong labels, and on the true labels.

settings = {"max_epochs": 60, "choose_epochs": True, "random_state": 0}
fitted = {
    "wrong labels": DiDiClassifier(**settings).fit(X, given),
    "label_noise=0.2": DiDiClassifier(label_noise=0.2, **settings).fit(X, given),
    "true labels": DiDiClassifier(**settings).fit(X, y),
}
scores = {name: score_probabilities(y_test, c.predict_proba(X_test)) for name, c in fitted.items()}

# %%
# On the left: how likely each label is to be right, by networks that have not seen it. On the
# right: accuracy and NLL on right labels. Without the correction, probabilities are those of labels
# that are wrong in a fifth of all cases, so they are too low.

probability, likelier = fitted["label_noise=0.2"].label_quality_
order = probability.argsort()
figure, axes = plt.subplots(1, 3, figsize=(10, 3), layout="constrained")
axes[0].bar(
    range(len(y)), probability[order], 1.0, color=np.where(wrong, "tab:red", "silver")[order]
)
axes[0].set(xlabel="rows, the most doubtful first", ylabel="P(label is right)")
axes[0].set_title("red: labels that are wrong")
for ax, key, title in zip(axes[1:], ("accuracy", "nll"), ("accuracy", "NLL (nats)"), strict=True):
    bars = ax.bar(scores.keys(), [row[key] for row in scores.values()], color="tab:blue", width=0.6)
    ax.bar_label(bars, fmt="%.2f")
    ax.set_title(title)
for ax in axes:
    ax.spines[["top", "right"]].set_visible(False)
plt.show()

# %%
# Whoever checks the twenty most doubtful rows finds many of the wrong labels, with a class to put
# in their place.

first = order[:20]
print(f"wrong among the first 20: {wrong[first].sum()} of {wrong.sum()}")
print(f"proposed class is true: {np.mean(likelier[first] == y[first]):.0%}")
