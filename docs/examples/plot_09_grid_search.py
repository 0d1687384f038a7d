"""
A grid search in a pipeline
===========================

`DiDiClassifier` works as a pipeline step: impute missing values before it, and search its
parameters by cross-validated NLL.
"""

import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_wine
from sklearn.impute import SimpleImputer
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline

from skdidicm import DiDiClassifier

# %%
# The wine data with a tenth of the measurements missing. No scaler is needed, since the network
# standardises the columns itself.

X, y = load_wine(return_X_y=True)
X[np.random.default_rng(0).random(X.shape) < 0.1] = np.nan
X_train, X_test, y_train, y_test = train_test_split(X, y, stratify=y, random_state=0)

pipeline = make_pipeline(SimpleImputer(), DiDiClassifier(random_state=0))

# %%
# Use the NLL for scoring, since accuracy does not measure the quality of the probabilities. Do not
# include steps and samplers in the grid, since changing them needs no training; see
# :ref:`sphx_glr_gallery_plot_03_steps.py`.

grid = {
    "didiclassifier__max_epochs": [20, 40, 80],
    "didiclassifier__weight_decay": [0.01, 1.0],
}
search = GridSearchCV(pipeline, grid, scoring="neg_log_loss", cv=3).fit(X_train, y_train)
print(search.best_params_)
print(f"NLL on test rows {-search.score(X_test, y_test):.3f}")
print(f"accuracy         {search.best_estimator_.score(X_test, y_test):.3f}")

# %%
# Mean and standard deviation of the NLL over the folds.

results = search.cv_results_
figure, ax = plt.subplots(figsize=(6, 3.3), layout="constrained")
for weight_decay in grid["didiclassifier__weight_decay"]:
    chosen = results["param_didiclassifier__weight_decay"] == weight_decay
    ax.errorbar(
        results["param_didiclassifier__max_epochs"][chosen].astype(float),
        -results["mean_test_score"][chosen],
        results["std_test_score"][chosen],
        marker="o",
        capsize=3,
        label=f"weight decay {weight_decay}",
    )
ax.set(xlabel="epochs", ylabel="NLL in cross-validation (nats)")
ax.set_xticks(grid["didiclassifier__max_epochs"])
ax.legend(frameon=False)
plt.show()
