"""
A class-structured rate matrix
==============================

By default, noise replaces a label by any other class with equal probability. With a rate matrix, it
moves to *similar* classes first. The reverse process then decides between groups of classes early
and within a group late.
"""

import matplotlib.pyplot as plt
import numpy as np
import scipy.linalg
from scipy.spatial.distance import cdist

from skdidicm import DiDiClassifier
from skdidicm.core import LogLinear
from skdidicm.datasets import load_digits_split
from skdidicm.metrics import score_probabilities

X_train, y_train, X_test, y_test, names = load_digits_split()
X, y, k = X_train[:300], y_train[:300], 10

# %%
# The similarity of two digits is computed from the training images: the closer their means, the
# higher the rate. Entry [i, j] is the rate from class j to class i, and columns sum to zero. The
# matrix is scaled so that labels are almost pure noise at t = 1, where sigma is 6.9.

means = np.array([X[y == c].mean(axis=0).ravel() for c in range(k)])
distance = cdist(means, means)
rates = np.exp(-((distance / np.median(distance)) ** 2) * 4)
np.fill_diagonal(rates, 0)
rates *= 2 / rates.sum(axis=0).mean()
rates -= np.diag(rates.sum(axis=0))

at_the_end = scipy.linalg.expm(LogLinear().total(np.asarray(1.0)) * rates)
print(f"columns differ at t = 1 by at most {np.ptp(at_the_end, axis=1).max():.3f}")

# %%
# The distribution of the noisy label after a quarter, half and all of the time.

figure, axes = plt.subplots(1, 3, figsize=(9, 3.3), layout="constrained")
for ax, t in zip(axes, (0.25, 0.5, 1.0), strict=True):
    law = scipy.linalg.expm(LogLinear().total(np.asarray(t)) * rates)
    picture = ax.imshow(law, vmin=0, vmax=0.7, cmap="Blues")
    ax.set(title=f"t = {t}", xlabel="clean label", xticks=range(k), yticks=range(k))
axes[0].set_ylabel("noisy label")
figure.colorbar(picture, ax=axes, label="probability")
plt.show()

# %%
# Two classifiers that differ only in the matrix. It changes the path to the prediction; we have not
# observed a clear effect on accuracy or NLL.

fitted = {}
for name, matrix in (("uniform", None), ("structured", rates)):
    classifier = DiDiClassifier(rate_matrix=matrix, max_epochs=30, random_state=0).fit(X, y)
    scores = score_probabilities(y_test, classifier.predict_proba(X_test))
    print(f"{name:10s} accuracy {scores['accuracy']:.3f}  NLL {scores['nll']:.3f}")
    fitted[name] = classifier

# %%
# The path of one image with both.

proba = fitted["structured"].predict_proba(X_test)
unsure = (np.sort(proba, axis=1)[:, -2]).argmax()
figure, axes = plt.subplots(1, 2, figsize=(9, 3.3), sharey=True, layout="constrained")
for ax, (name, classifier) in zip(axes, fitted.items(), strict=True):
    path = classifier.predict_path(X_test[[unsure]])[0]
    leading = path.max(axis=0).argsort()[::-1][:4]
    for c in leading:
        ax.plot(path[:, c], marker="o", label=f"class {c}")
    ax.set(title=f"{name} noise, true class {y_test[unsure]}", xlabel="step")
    ax.legend(frameon=False)
axes[0].set_ylabel("probability")
plt.show()
