"""Sphinx settings."""

import sys
from pathlib import Path

from clapstack import __version__

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "_extensions"))

project = "clapstack"
author = "clapstack developers"
copyright = "2026, clapstack developers"
release = version = __version__

extensions = [
    "mathml",
    "numpydoc",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "changes"]

# Every reference must lead somewhere; other projects' pages are out of reach offline.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(joblib|numpy|pandas|sklearn)\..*")]

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# "fit()", not "RankEnsembleRegressor.fit()", which the column beside a page cuts off.
toc_object_entries_show_parents = "hide"

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": "^(?!plot_)",
    "download_all_examples": False,
    "abort_on_example_error": True,
    # Their text is an address in memory; what they show is the picture.
    "ignore_repr_types": r"matplotlib|Display'",
    "show_memory": False,
    "show_signature": False,
    "write_computation_times": False,
    "within_subsection_order": "gallery_order.quick_start_first",
}

html_theme = "pydata_sphinx_theme"
html_theme_options = {"show_toc_level": 2}
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
