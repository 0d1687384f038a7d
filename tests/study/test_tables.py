"""Tables of means and intervals over seeds."""

import numpy as np
import pytest
import scipy.stats

from skdidicm.study import summarise, to_csv, to_markdown


def test_intervals_are_those_of_student():
    cell = {
        "data": "d",
        "n": None,
        "noise": 0.0,
        "resolution": None,
        "budget": "auto",
        "method": "m",
    }
    values = [0.5, 0.6, 0.9]
    (summary,) = summarise(
        [cell | {"seed": i, "nll": v, "epochs": 20 + i} for i, v in enumerate(values)]
    )
    low, high = scipy.stats.t.interval(0.95, 2, np.mean(values), scipy.stats.sem(values))
    assert summary["nll_interval"] == pytest.approx((high - low) / 2)
    assert "accuracy" not in summary
    table = to_markdown([summary], "nll")
    assert "| d | all | 0.0 | all | 0.667 ± 0.517 |" in table
    assert "| d | all | 0.0 | all | 21 ± 2 |" in to_markdown([summary], "epochs")
    assert to_csv([summary]).splitlines()[0].startswith("data,n,noise,resolution,corruption,ratio,")
