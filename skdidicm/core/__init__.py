"""Discrete diffusion over labels as array-API functions: NumPy, torch, JAX and others."""

from skdidicm.core.channel import (
    Channel,
    ConfusionNoise,
    SymmetricNoise,
    responsibilities,
    reweighted,
)
from skdidicm.core.losses import (
    bayes_cross_entropy,
    check_objective,
    cross_entropy,
    denoising_loss,
    denoising_loss_and_gradient,
    log_score,
    score_entropy,
)
from skdidicm.core.noise_levels import noise_levels
from skdidicm.core.posterior import SAMPLERS, SamplerPlan, read_out, sample_posterior
from skdidicm.core.process import Process, UniformProcess
from skdidicm.core.rate_process import RateProcess
from skdidicm.core.samplers import sample_labels, sample_probabilities, time_steps
from skdidicm.core.schedules import EPS_T, SCHEDULES, Cosine, Geometric, LogLinear, Schedule

__all__ = [
    "EPS_T",
    "SAMPLERS",
    "SCHEDULES",
    "Channel",
    "ConfusionNoise",
    "Cosine",
    "Geometric",
    "LogLinear",
    "Process",
    "RateProcess",
    "SamplerPlan",
    "Schedule",
    "SymmetricNoise",
    "UniformProcess",
    "bayes_cross_entropy",
    "check_objective",
    "cross_entropy",
    "denoising_loss",
    "denoising_loss_and_gradient",
    "log_score",
    "noise_levels",
    "read_out",
    "responsibilities",
    "reweighted",
    "sample_labels",
    "sample_posterior",
    "sample_probabilities",
    "score_entropy",
    "time_steps",
]
