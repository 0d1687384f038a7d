"""The PyTorch backend of skdidicm."""

from skdidicm.networks import NETWORKS
from skdidicm_torch.backend import TorchNetwork
from skdidicm_torch.networks import create_network

__all__ = ["NETWORKS", "TorchNetwork", "build_network", "create_network"]

build_network = TorchNetwork
