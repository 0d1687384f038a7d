"""Sphinx configuration; `sphinx-build -W -b html docs docs/_build/html` needs no network."""

from importlib.metadata import version as installed_version

project = "skdidicm"
author = "The skdidicm developers"
project_copyright = author
version = release = installed_version("skdidicm")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
exclude_patterns = ["_build"]
templates_path = ["_templates"]

default_role = "literal"
highlight_language = "python"

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "inherited-members": "ClassifierMixin, BaseEstimator, CallbackSupportMixin, object, tuple",
    # scikit-learn generates these; their docstrings link into its own documentation.
    "exclude-members": "set_fit_request, set_partial_fit_request, set_score_request, "
    "get_metadata_routing",
}
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False

html_theme = "pydata_sphinx_theme"
html_title = "skdidicm"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 2,
    "navigation_with_keys": False,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"**": []}


def escape_stars(*event):
    """Keep the star of shapes such as (n, *input_shape) from opening emphasis."""
    lines = event[-1]
    lines[:] = [line.replace(" *input_shape", r" \*input_shape") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_stars)
