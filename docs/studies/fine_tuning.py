"""What fine-tuning depends on: rate, BatchNorm, mixup and the start, in a plain loop of torch.

    python docs/studies/fine_tuning.py fashion 0

The data and the network are those of own_pictures.py, in 64 pixels. The loss is the ordinary
cross-entropy, of a linear head on the features that the library takes. NLL is at the best
temperature of the test pictures.
"""

import argparse
import copy
from dataclasses import dataclass

import numpy as np
import own_pictures
import torch
from skdidicm_torch.dense import LinearHead
from skdidicm_torch.imagenet.embeddings import pretrained
from skdidicm_torch.trunk import TrunkModule
from torch import nn
from torch.nn import functional

from skdidicm.backend import Preparation

N, N_TEST, SIDE, BATCH = 1000, 1500, 64, 64


@dataclass(frozen=True)
class Setting:
    """One way to fine-tune; with `statistics` BatchNorm takes those of the mini-batch."""

    rate: float
    head_rate: float = 1e-3
    mixup: float = 0.0
    statistics: bool = False
    from_frozen: bool = True
    epochs: int = 10


SETTINGS = (
    Setting(6e-4, head_rate=6e-3, mixup=0.3, statistics=True, from_frozen=False),
    Setting(3e-4, statistics=True),
    *(Setting(rate) for rate in (1e-4, 3e-4, 1e-3)),
    *(Setting(rate, mixup=0.3) for rate in (3e-4, 1e-3, 2e-3)),
    Setting(6e-4, head_rate=6e-3, mixup=0.3),
)


def tune(trunk, head, x, y, setting):
    """Train copies of both; return them."""
    torch.manual_seed(1)
    trunk, head = copy.deepcopy(trunk), copy.deepcopy(head)
    if not setting.from_frozen:
        nn.init.zeros_(head.fc.weight)
        nn.init.zeros_(head.fc.bias)
    groups = [
        {"params": trunk.parameters(), "peak": setting.rate},
        {"params": head.parameters(), "peak": setting.head_rate},
    ]
    optimizer = torch.optim.AdamW(groups, weight_decay=5e-2)
    n_updates, k = setting.epochs * -(-len(x) // BATCH), len(head.fc.bias)
    warm_up, update = round(0.1 * n_updates), 0
    for module in trunk.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.training = setting.statistics
    for _ in range(setting.epochs):
        for rows in torch.randperm(len(x)).chunk(-(-len(x) // BATCH)):
            late = (update - warm_up) / (n_updates - warm_up)
            share = (update + 1) / warm_up if update < warm_up else (1 + np.cos(np.pi * late)) / 2
            for group in optimizer.param_groups:
                group["lr"] = share * group["peak"]
            pictures, target = shifted(x[rows]), functional.one_hot(y[rows], k).float()
            if setting.mixup:
                pictures, target = mixed(pictures, target, setting.mixup)
            pictures = pictures.contiguous(memory_format=torch.channels_last)
            (logits,) = head.encode(trunk(pictures))
            optimizer.zero_grad()
            functional.cross_entropy(logits, target).backward()
            nn.utils.clip_grad_norm_([*trunk.parameters(), *head.parameters()], 1.0)
            optimizer.step()
            update += 1
    return trunk.eval(), head


def learn_head(features, y, k):
    """Return the head of the frozen network."""
    torch.manual_seed(0)
    head = LinearHead(features.shape[1], k, conditional=False)
    head.standardise_by(features)
    optimizer = torch.optim.AdamW(head.parameters(), weight_decay=5e-2)
    n_updates, update = 40 * -(-len(y) // BATCH), 0
    for _ in range(40):
        for rows in torch.randperm(len(y)).split(BATCH):
            optimizer.param_groups[0]["lr"] = 5e-4 * (1 + np.cos(np.pi * update / n_updates))
            (logits,) = head.encode(features[rows])
            optimizer.zero_grad()
            functional.cross_entropy(logits, y[rows]).backward()
            optimizer.step()
            update += 1
    return head


def shifted(x):
    """Return pictures moved by up to a sixteenth of their side."""
    n, _, side, _ = x.shape
    reach = side // 16
    x = functional.pad(x, (reach,) * 4, mode="replicate")
    moves = torch.randint(0, 2 * reach + 1, (n, 2)).tolist()
    return torch.stack([x[i, :, a : a + side, b : b + side] for i, (a, b) in enumerate(moves)])


def mixed(x, target, alpha):
    """Return pictures and class probabilities blended with those of others."""
    partner = torch.randperm(len(x))
    share = torch.distributions.Beta(alpha, alpha).sample((len(x), 1))
    share = torch.maximum(share, 1 - share)
    wide = share[:, :, None, None]
    return wide * x + (1 - wide) * x[partner], share * target + (1 - share) * target[partner]


def features_of(trunk, x):
    """Return the features (n, f) of pictures."""
    with torch.no_grad():
        return torch.cat([trunk(part) for part in x.split(64)])


def scores(logits, y):
    """Return accuracy and NLL as text."""
    nll = min(functional.cross_entropy(logits / t, y).item() for t in np.geomspace(0.4, 4, 40))
    return f"{100 * (logits.argmax(dim=1) == y).float().mean():.1f}% {nll:.3f}"


def main(name, seed, fashion):
    """Print the scores of the frozen network and of every setting."""
    own_pictures.N_TEST = N_TEST
    a, labels, b, of_test, *_ = own_pictures.load(name, seed, N, fashion)
    classes, labels = np.unique(labels, return_inverse=True)
    x, x_test = (torch.tensor(p).permute(0, 3, 1, 2).float() / 255 for p in (a, b))
    y, y_test = torch.tensor(labels), torch.tensor(np.searchsorted(classes, of_test))
    network = pretrained()
    network.reset_classifier(0)
    halves = (0.5,) * 3
    trunk = TrunkModule(network, Preparation((SIDE, SIDE), halves, halves))
    trunk = trunk.to(memory_format=torch.channels_last)
    head = learn_head(features_of(trunk, x), y, len(classes))
    with torch.no_grad():
        print("frozen", scores(head.encode(features_of(trunk, x_test))[0], y_test), flush=True)
        for setting in SETTINGS:
            with torch.enable_grad():
                tuned, own = tune(trunk, head, x, y, setting)
            found = scores(own.encode(features_of(tuned, x_test))[0], y_test)
            print(setting, found, flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", choices=own_pictures.DATA)
    parser.add_argument("seed", type=int)
    parser.add_argument("--fashion", default="/usr/share/datasets/fashion-mnist")
    given = parser.parse_args()
    main(given.name, given.seed, given.fashion)
