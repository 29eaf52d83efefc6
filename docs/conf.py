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
    "sphinx.ext.extlinks",
    "sphinx_design",
    "sphinx_gallery.gen_gallery",
]
templates_path = ["_templates"]
exclude_patterns = ["_build", "changes"]

# Every reference must resolve, except those to other projects: no network is assumed.
nitpicky = True
nitpick_ignore_regex = [("py:.*", r"(joblib|numpy|pandas|sklearn)\..*")]

autosummary_generate = True
autodoc_typehints = "none"
numpydoc_show_class_members = False
numpydoc_xref_param_type = False
# "fit()" fits the right-hand column; "RankEnsembleRegressor.fit()" does not.
toc_object_entries_show_parents = "hide"

# :hub:`laion/clap-htsat-unfused` links to a checkpoint, :arxiv:`2401.03497` to a paper.
extlinks = {
    "hub": ("https://huggingface.co/%s", "%s"),
    "arxiv": ("https://doi.org/10.48550/arXiv.%s", "arXiv:%s"),
    "doi": ("https://doi.org/%s", "doi:%s"),
    "github": ("https://github.com/%s", "%s"),
}

sphinx_gallery_conf = {
    "examples_dirs": "../examples",
    "gallery_dirs": "gallery",
    "filename_pattern": r"/plot_",
    "ignore_pattern": "^(?!plot_)",
    "download_all_examples": False,
    "abort_on_example_error": True,
    # Hide "<matplotlib... at 0x7f...>": the picture is the output.
    "ignore_repr_types": r"matplotlib|Display'",
    "show_memory": False,
    "show_signature": False,
    "remove_config_comments": True,
    "write_computation_times": False,
    "within_subsection_order": "gallery_order.by_task",
    # Pages of the API list the examples that use them.
    "backreferences_dir": "generated/examples",
    "doc_module": ("clapstack",),
    "thumbnail_size": (400, 300),
}

html_theme = "pydata_sphinx_theme"
html_theme_options = {
    "header_links_before_dropdown": 6,
    "show_toc_level": 2,
    "secondary_sidebar_items": {"**": ["page-toc"], "index": [], "gallery/index": []},
}
# Pages without subpages need no column on the left.
LEAVES = "architecture bundled changelog contributing glossary index install questions "
LEAVES += "quick_start reliability reproducibility"
html_sidebars = {page: [] for page in LEAVES.split()}
html_title = f"clapstack {version}"
html_show_sourcelink = False
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["pages.css"]
