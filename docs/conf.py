"""Sphinx settings."""

from clapstack import __version__

project = "clapstack"
author = "clapstack developers"
copyright = "2026, clapstack developers"
release = version = __version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.mathjax",
    "numpydoc",
]
autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
templates_path = ["_templates"]
exclude_patterns = ["_build", "changes"]
html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_toc_level": 2}
