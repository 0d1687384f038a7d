"""The card of a model on the Hugging Face Hub."""

import re
from collections.abc import Mapping
from html import escape

from skdidicm.metrics import Scores

_CARD = """---
library_name: skdidicm
pipeline_tag: {task}
tags:
- scikit-learn
- calibration
- discrete-diffusion
---

# {title}

A classifier of {rows} that estimates class probabilities by discrete diffusion over labels.
It was trained with skdidicm, which loads it without running code from the file.

```python
from skdidicm import DiDiClassifier

classifier = DiDiClassifier.from_pretrained({name!r})
probabilities = classifier.predict_proba(X)
```
{figures}
## The fit

{facts}
"""

_FIGURES = """
## Figures

On {n} training rows, each by a network that was not trained on it:

{scores}
"""

_GIVEN = """
The labels of these rows may be wrong. The figures compare them with the probabilities of the label
that would be given, not with those of the true class, which the model predicts.
"""


def model_card(
    name: str,
    input_shape: tuple[int, ...],
    facts: Mapping[str, str],
    scores: Scores | None = None,
    n_scored: int = 0,
    *,
    noisy: bool = False,
) -> str:
    """Return a model card in Markdown; text of the user cannot become markup.

    Parameters
    ----------
    name : str
        Folder or repository to load the model from.
    input_shape : tuple of int
        Shape of one row.
    facts : mapping of str to str
        What is shown of the fit; see `skdidicm.report.notebook.facts`.
    scores : Scores, optional
        Scores on held-out rows.
    n_scored : int
        Number of these rows.
    noisy : bool
        Whether their labels may be wrong, and the scores are those of the observed label.

    Examples
    --------
    >>> print(model_card("me/iris", (4,), {"Classes": "2: a, <b>"}).splitlines()[-1])
    | Classes | 2: a, &lt;b&gt; |
    """
    table = len(input_shape) == 1
    size = " x ".join(map(str, input_shape))
    figures = "" if scores is None else _FIGURES.format(n=n_scored, scores=_scored(scores))
    if figures and noisy:
        figures += _GIVEN
    return _CARD.format(
        task="tabular-classification" if table else "image-classification",
        title=_plain(name.rpartition("/")[2]) or "DiDiClassifier",
        rows=f"tables with {size} columns" if table else f"images of {size}",
        name=name,
        figures=figures,
        facts=_table("fit", facts),
    )


def _scored(scores: Scores) -> str:
    shown = {
        "accuracy": f"{scores['accuracy']:.3f}",
        "negative log-likelihood, nats": f"{scores['nll']:.3f}",
        "expected calibration error": f"{scores['ece']:.3f}",
    }
    return _table("score", shown)


def _table(title: str, rows: Mapping[str, str]) -> str:
    lines = [f"| {_plain(name)} | {_plain(value)} |" for name, value in rows.items()]
    return "\n".join([f"| {title} | value |", "| --- | --- |", *lines])


def _plain(text: str) -> str:
    """Return text on one line in which nothing is markup of Markdown or HTML."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", escape(" ".join(text.split()), quote=False))
