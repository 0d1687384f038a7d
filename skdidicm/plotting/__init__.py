"""Pictures in the manner of scikit-learn's Display classes; matplotlib is imported when drawing."""

from skdidicm.plotting.history import HistoryDisplay
from skdidicm.plotting.path import PosteriorPathDisplay

__all__ = ["HistoryDisplay", "PosteriorPathDisplay"]
