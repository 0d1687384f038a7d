"""The summary of a fitted estimator in notebooks, below scikit-learn's own diagram."""

from collections.abc import Iterable, Mapping
from html import escape
from typing import Any

from skdidicm.backend import OnDevice
from skdidicm.fit.state import Fitted
from skdidicm.networks import resolve_network

_MOST_NAMES = 12

_STYLE = """
.skdidicm-facts {font: 13px/1.4 sans-serif; margin: 6px 0}
.skdidicm-facts summary {cursor: pointer}
.skdidicm-facts th, .skdidicm-facts td {text-align: left; padding: 2px 14px 2px 0}
.skdidicm-facts th {font-weight: normal; opacity: .7}
"""


def facts(fitted: Fitted, temperature: float, slope: float, n_answering: int) -> dict[str, str]:
    """Return a summary of a fit: values by the names to show.

    Parameters
    ----------
    fitted : Fitted
        The result of the fit.
    temperature, slope : float
        The temperature that predictions use, and the power of a row's entropy in it.
    n_answering : int
        Number of networks whose mean predicts.
    """
    network, k = fitted.network, len(fitted.classes)
    config = network.config
    kind = resolve_network(config.network, config.input_shape)
    kind = kind if isinstance(kind, str) else type(kind).__name__
    size = sum(value.size for value in network.state().values())
    others = n_answering - 1
    return {
        "Network": f"{kind}, {size:,} weights" + (f", and {others} more" if others else ""),
        "Learns": f"{config.parameterization} by {config.objective}, "
        f"condition in {config.conditioning}".replace("_", " "),
        "Input": " x ".join(map(str, config.input_shape)),
        "Classes": f"{k}: {_listed(fitted.classes.tolist())}",
        **_label_noise(fitted),
        **_training(fitted, temperature, slope),
        **({"Training": _settings(fitted.training)} if fitted.training else {}),
        **({"Device": str(network.device)} if isinstance(network, OnDevice) else {}),
    }


def table(rows: Iterable[tuple[str, str]]) -> str:
    """Return an HTML table that can be folded; names and values are escaped.

    Examples
    --------
    >>> "<td>&lt;b&gt;</td>" in table([("Classes", "<b>")])
    True
    """
    cells = "".join(
        f'<tr><th scope="row">{escape(name)}</th><td>{escape(value)}</td></tr>'
        for name, value in rows
    )
    return (
        f'<style>{_STYLE}</style><details class="skdidicm-facts" open>'
        f"<summary>Fitted</summary><table><tbody>{cells}</tbody></table></details>"
    )


def _label_noise(fitted: Fitted) -> dict[str, str]:
    """Return what is shown of wrong labels, if networks learn through them."""
    if fitted.annotators is not None:
        return {"Votes of": f"{len(fitted.annotators)} annotators"}
    if fitted.channel is None:
        return {}
    right = fitted.channel.matrix().diagonal().mean()
    return {"Label noise": f"{1 - right:.1%} of the labels of a class are wrong, on average"}


def _training(fitted: Fitted, temperature: float, slope: float) -> dict[str, str]:
    """Return what is shown of the last training."""
    shown: dict[str, str] = {}
    if fitted.n_rows is not None:  # files do not keep it
        shown["Rows seen"] = f"{fitted.n_rows:,} in every epoch of the last fit"
    shown["Epochs"] = f"{fitted.n_iter} of {fitted.max_epochs}"
    shown["Temperature"] = f"{temperature:.2f}"
    if slope:
        shown["Temperature"] += f" times the relative entropy to the power of {slope:.2f}"
    last = fitted.history[-1] if fitted.history else {}
    for key, name, write in (
        ("loss", "Final loss", "{:.3f}".format),
        ("val_accuracy", "Validation accuracy", lambda share: f"{100 * share:.1f}%"),
        ("val_nll", "Validation NLL", "{:.3f} nats per row".format),
    ):
        if key in last:
            shown[name] = write(last[key])
    return shown


def _settings(training: Mapping[str, Any]) -> str:
    """Return the settings of training, with every "auto" replaced."""
    return ", ".join(f"{name} {value}" for name, value in training.items())


def _listed(labels: list[Any]) -> str:
    left = len(labels) - _MOST_NAMES
    return ", ".join(map(str, labels[:_MOST_NAMES])) + (f", and {left} more" if left > 0 else "")
