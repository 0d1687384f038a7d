"""Sphinx configuration; `sphinx-build -W -b html docs docs/_build/html` needs no network."""

import os
from importlib.metadata import version as installed_version

# Small networks do not benefit from a second thread. Set this before the gallery imports torch.
os.environ.setdefault("OMP_NUM_THREADS", "1")

project = "skdidicm"
author = "The skdidicm developers"
project_copyright = author
version = release = installed_version("skdidicm")

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.intersphinx",
    "sphinx.ext.mathjax",
    "myst_parser",
    "numpydoc",
    "sphinx_copybutton",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
    "sphinxcontrib.typer",
]
source_suffix = {".rst": "restructuredtext"}  # Markdown is only included, by changelog.rst
exclude_patterns = ["_build", "examples"]
templates_path = ["_templates"]
html_static_path = ["_static"]
html_css_files = ["site.css"]

default_role = "literal"
highlight_language = "python"

autodoc_default_options = {
    "members": True,
    "member-order": "bysource",
    "inherited-members": "ClassifierMixin, BaseEstimator, CallbackSupportMixin, BaseException, "
    "object, tuple, dict",
    # scikit-learn generates these; their docstrings refer to its own documentation.
    "exclude-members": "set_fit_request, set_partial_fit_request, set_score_request, "
    "get_metadata_routing",
}
autodoc_typehints = "none"
autosummary_generate = True
numpydoc_show_class_members = False
# All checks except extended summary, examples and "see also"; sections of functions with a one-line
# docstring; and types, order and names of parameters described as "as for" another function.
numpydoc_validation_checks = {"all", "ES01", "EX01", "SA01", "RT01", "RT03", "YD01"} | {
    f"PR0{i}" for i in (1, 2, 3, 4)
}
numpydoc_validation_overrides = {"SS03": ["^Alias for field number"]}  # from Python itself
nitpicky = True  # every reference must resolve

# Committed inventories of the few names that these pages link to: a build needs no network.
intersphinx_mapping = {
    "matplotlib": ("https://matplotlib.org/stable/", "inventories/matplotlib.txt"),
    "numpy": ("https://numpy.org/doc/stable/", "inventories/numpy.txt"),
    "python": ("https://docs.python.org/3/", "inventories/python.txt"),
    "sklearn": ("https://scikit-learn.org/stable/", "inventories/sklearn.txt"),
    "torch": ("https://docs.pytorch.org/docs/stable/", "inventories/torch.txt"),
}

sphinx_gallery_conf = {
    "examples_dirs": "examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": r"^(?!plot_)",
    "within_subsection_order": "FileNameSortKey",
    "doc_module": ("skdidicm", "skdidicm_torch"),
    "backreferences_dir": "generated/backreferences",
    "reference_url": {"skdidicm": None},
    "remove_config_comments": True,
    "show_signature": False,
}

copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True

html_theme = "pydata_sphinx_theme"
html_title = "skdidicm"
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "show_toc_level": 3,
    "navigation_with_keys": False,
    "header_links_before_dropdown": 6,
    "footer_start": ["copyright"],
    "footer_end": [],
}
html_sidebars = {"*": []}  # top-level pages have no sidebar


def escape_stars(*event):
    """Escape the star in shapes such as (n, *input_shape), which would start emphasis."""
    lines = event[-1]
    lines[:] = [line.replace(" *input_shape", r" \*input_shape") for line in lines]


def setup(app):
    app.connect("autodoc-process-docstring", escape_stars)
