"""`fit` on 5,000 images against a bare torch loop and against skorch, for the same updates."""

import numpy as np
import torch

from skdidicm import DiDiClassifier
from skdidicm.core import EPS_T, LogLinear, UniformProcess, denoising_loss
from skdidicm.fit.training import learning_rate_at
from tests.benchmarks.timing import Row, ratio

N, K, M, BATCH, EPOCHS, RATE = 5000, 10, 4, 64, 1, 3e-3
PROCESS, SCHEDULE = UniformProcess(K), LogLinear()


def rows():
    """Yield the time of fit over the two others."""
    rng = np.random.default_rng(0)
    X, y = rng.standard_normal((N, 28, 28)).astype(np.float32), rng.integers(0, K, N)
    classifier = DiDiClassifier(
        max_epochs=EPOCHS,
        batch_size=BATCH,
        learning_rate=RATE,
        n_draws=M,
        augment=None,
        device="cpu",
        random_state=0,
    )
    module = classifier.fit(X[:128], y[:128]).network_.module
    bare = lambda: bare_loop(module, X, y)  # noqa: E731
    yield Row(
        "fit on 5,000 images over a bare torch loop",
        ratio(lambda: classifier.fit(X, y), bare, rounds=3),
        "<= 1.1",
    )
    net = skorch_net(module)
    yield Row(
        "fit on 5,000 images over skorch",
        ratio(lambda: classifier.fit(X, y), lambda: net.fit(X, y.astype(np.int64)), rounds=3),
        "<= 1",
    )


def diffusion_loss(output_of, y):
    """Return the loss of a batch whose noise is drawn by torch."""
    t = EPS_T + (1 - EPS_T) * torch.rand(len(y), M)
    sigma, rate = SCHEDULE.total(t), SCHEDULE.rate(t)
    q_0 = torch.nn.functional.one_hot(y, K).float()[:, None].expand(-1, M, -1)
    q_t = PROCESS.diffuse(q_0, sigma)
    label = torch.multinomial(q_t.reshape(-1, K), 1).reshape(-1, M)
    loss = denoising_loss(output_of(label, sigma), label, sigma, q_0, process=PROCESS)
    return (rate * loss).mean()


def bare_loop(module, X, y):
    """Train as a user of torch alone would."""
    module.train()
    optimizer = torch.optim.AdamW(module.parameters(), fused=True)
    X, y = torch.from_numpy(X)[:, None], torch.from_numpy(y)
    n_batches = -(-N // BATCH)
    for epoch in range(EPOCHS):
        for i, index in enumerate(torch.randperm(N).tensor_split(n_batches)):
            rate = learning_rate_at(epoch * n_batches + i, EPOCHS * n_batches, RATE)
            optimizer.param_groups[0]["lr"] = rate
            optimizer.zero_grad()
            features = module.encode(X[index])
            loss = diffusion_loss(
                lambda label, sigma, f=features: module.decode(f, label, sigma), y[index]
            )
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()


class Diffusion(torch.nn.Module):
    """The module as skorch wants it: `forward` maps images to what the loss needs."""

    def __init__(self, module):
        super().__init__()
        self.module = module

    def forward(self, x):
        """Return the features of images (n, 28, 28)."""
        return self.module.encode(x[:, None])


def skorch_net(module):
    """Return a skorch net that trains the same module by the same loss."""
    from skorch import NeuralNet
    from skorch.callbacks import GradientNormClipping

    class Net(NeuralNet):
        def get_loss(self, y_pred, y_true, *args, **kwargs):
            decode = self.module_.module.decode
            return diffusion_loss(lambda label, sigma: decode(y_pred, label, sigma), y_true)

    return Net(
        Diffusion(module),
        criterion=torch.nn.MSELoss,
        optimizer=torch.optim.AdamW,
        optimizer__fused=True,
        lr=RATE,
        max_epochs=EPOCHS,
        batch_size=BATCH,
        iterator_train__shuffle=True,
        train_split=None,
        callbacks=[GradientNormClipping(1.0)],
        verbose=0,
    )
