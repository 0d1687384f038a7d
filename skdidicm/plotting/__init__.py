"""Pictures in the manner of scikit-learn's Display classes; matplotlib is imported when drawing."""

from skdidicm.plotting.doubtful import DoubtfulLabelsDisplay
from skdidicm.plotting.history import HistoryDisplay
from skdidicm.plotting.path import PosteriorPathDisplay
from skdidicm.plotting.reliability import ReliabilityDisplay
from skdidicm.plotting.steps import StepsDisplay
from skdidicm.plotting.uncertainty import UncertaintyDisplay

__all__ = [
    "DoubtfulLabelsDisplay",
    "HistoryDisplay",
    "PosteriorPathDisplay",
    "ReliabilityDisplay",
    "StepsDisplay",
    "UncertaintyDisplay",
]
