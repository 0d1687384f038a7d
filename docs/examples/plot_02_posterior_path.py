"""
How a posterior forms
=====================

Prediction starts from a uniform distribution over the classes and reaches P(class | image) in a few
steps. `predict_path` returns the distribution at every step.
"""

import matplotlib.pyplot as plt
import numpy as np
from scipy.stats import entropy

from skdidicm import DiDiClassifier
from skdidicm.datasets import load_digits_split
from skdidicm.plotting import PosteriorPathDisplay

X_train, y_train, X_test, y_test, names = load_digits_split()
classifier = DiDiClassifier(steps=8, max_epochs=30, random_state=0)
classifier.fit(X_train[:300], y_train[:300])

path = classifier.predict_path(X_test)
print(path.shape)  # (n, steps + 1, k)

# %%
# The entropy is 0 nats if one class has all the probability, and log(10) = 2.3 nats for a uniform
# distribution. Below are the image with the lowest entropy and the two with the highest.

uncertainty = entropy(path[:, -1], axis=1)
order = uncertainty.argsort()
chosen = np.concatenate([order[:1], order[-2:]])

PosteriorPathDisplay.from_estimator(classifier, X_test[chosen], y_test[chosen])
plt.show()

# %%
# The entropy at each step. For clear images it falls almost to zero; for ambiguous ones it stays
# higher, since several classes remain possible.

spread = entropy(path, axis=2)  # (n, steps + 1)
figure, ax = plt.subplots(figsize=(6, 3.5), layout="constrained")
ax.plot(spread[order[:100]].T, color="tab:blue", alpha=0.15)
ax.plot(spread[order[-30:]].T, color="tab:orange", alpha=0.5)
ax.plot([], color="tab:blue", label="the 100 most certain")
ax.plot([], color="tab:orange", label="the 30 most ambiguous")
ax.set(xlabel="step", ylabel="entropy of the class probabilities (nats)")
ax.legend(frameon=False)
plt.show()
