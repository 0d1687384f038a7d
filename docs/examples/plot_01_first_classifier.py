"""
A first classifier
==================

Train on 300 handwritten digits and predict class probabilities.
"""

import matplotlib.pyplot as plt

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

# %%
# Images are an array of shape (n, height, width); `uint8` needs no conversion. Thirty epochs are
# enough here. Without `max_epochs`, the classifier chooses the number of epochs itself.

X_train, y_train, X_test, y_test, names = load_digits_split()
classifier = DiDiClassifier(max_epochs=30, random_state=0).fit(X_train[:300], y_train[:300])

# %%
# `predict_proba` returns P(class | image), with columns in the order of `classes_`. The negative
# log-likelihood `nll` is the main metric: it is low only if correct predictions have high
# confidence and wrong ones have low confidence.

proba = classifier.predict_proba(X_test)
scores = score_probabilities(y_test, proba, classifier.classes_)
print({name: round(value, 3) for name, value in scores.items()})

# %%
# The most confident predictions (top) and the least confident ones (bottom), which are for
# ambiguous images.

confidence = proba.max(axis=1)
order = confidence.argsort()
chosen = [*order[::-1][:6], *order[:6]]

figure, axes = plt.subplots(2, 6, figsize=(9, 4.6), layout="constrained")
for ax, i in zip(axes.flat, chosen, strict=True):
    first, second = proba[i].argsort()[::-1][:2]
    ax.imshow(X_test[i], cmap="gray_r")
    ax.set_title(f"{first}: {proba[i, first]:.0%}\n{second}: {proba[i, second]:.0%}", fontsize=10)
    ax.set_xlabel(f"true: {y_test[i]}", color="tab:blue" if first == y_test[i] else "tab:red")
    ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("most confident")
axes[1, 0].set_ylabel("least confident")
plt.show()
