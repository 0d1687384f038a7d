"""A complete backend in NumPy: a linear model of class logits, trained by equation (11).

Run it with `python docs/examples/numpy_backend.py`.
"""

import numpy as np

from skdidicm.core import bayes_cross_entropy, log_score
from skdidicm.core.arrays import normalize, softmax

_TINY = 1e-30  # a likelihood whose logarithm is finite

# The only settings that this backend supports, besides "auto".
_OFFERED = {
    "network": "linear",
    "parameterization": "posterior",
    "objective": "bayes_cross_entropy",
    "device": "cpu",
    "precision": "float64",
}


class LinearNetwork:
    """A `ScoreNetwork` whose outputs, the logits of q_0, are linear in the row."""

    def __init__(self, config):
        for name, offered in _OFFERED.items():
            if (value := getattr(config, name)) not in ("auto", offered):
                raise ValueError(f"{name} is {value!r}; the NumPy backend has only {offered!r}.")
        if config.dropout:
            raise ValueError(f"dropout is {config.dropout}; the NumPy backend has only 0.")
        if config.channel is not None:
            raise ValueError("label_noise is given; the NumPy backend has no label noise.")
        self.config = config
        shape = (int(np.prod(config.input_shape)) + 1, config.n_classes)
        self.weight = np.random.default_rng(config.seed).normal(0, 0.01, shape)

    def encode(self, x, /):
        return self._columns(x) @ self.weight  # (n, k); label and sigma enter after it, by (2)

    def log_score(self, features, label, sigma, /):
        output = features if label.ndim == 1 else features[:, None]
        output = np.broadcast_to(output, (*label.shape, self.config.n_classes))
        process = self.config.process
        return log_score(output, label, sigma, process=process, parameterization="posterior")

    def start(self, values, /):
        return np.asarray(values, dtype=np.float64)

    def train_step(self, batch, learning_rate, /):
        columns, process = self._columns(batch.x), self.config.process
        output = (columns @ self.weight)[:, None]  # (n, 1, k), the same for all m draws
        likelihood = process.likelihood(batch.label, batch.sigma, np.float64)  # (n or 1, m, k)
        posterior = softmax(output + np.log(np.maximum(likelihood, _TINY)))  # (n, m, k)
        target = batch.target[:, None]
        loss = bayes_cross_entropy(output, batch.label, batch.sigma, target, process)  # (n, m)
        known = normalize(target * likelihood)  # soft label given the noisy label
        error = (batch.weight[..., None] * (posterior - known)).sum(axis=1)  # (n, k)
        gradient = columns.T @ error + self.config.weight_decay * self.weight
        self.weight = self.weight - learning_rate * gradient
        return (batch.weight * loss).sum()

    def state(self):
        return {"weight": self.weight.copy()}

    def load_state(self, state, /):
        if state.keys() != {"weight"} or state["weight"].shape != self.weight.shape:
            raise ValueError(f"expected one array 'weight' of shape {self.weight.shape}.")
        self.weight = np.array(state["weight"], dtype=np.float64)

    def _columns(self, x):
        """Return standardised rows with a column of ones, (n, d + 1)."""
        standard = (x - self.config.mean) / self.config.scale
        return np.column_stack([standard.reshape(len(x), -1), np.ones(len(x))])


build_network = LinearNetwork  # calling the class with a NetworkConfig fulfils the contract


def main():
    from sklearn.datasets import load_iris

    from skdidicm import DiDiClassifier

    X, y = load_iris(return_X_y=True)
    classifier = DiDiClassifier(
        backend=build_network,
        parameterization="posterior",
        objective="bayes_cross_entropy",
        solver="bridge",
        learning_rate=1.0,
        random_state=0,
    )
    classifier.fit(X[::2], y[::2])
    print(f"accuracy on the other half of iris: {classifier.score(X[1::2], y[1::2]):.2f}")
    print(classifier.predict_proba(X[1::50]).round(2))


if __name__ == "__main__":
    main()
