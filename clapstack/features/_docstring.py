"""Blocks of docstrings that several transformers share.

A line ``{device, cache}`` of a docstring becomes the blocks of these names, so that
``help()``, the documentation and numpydoc's checks see them in full.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from textwrap import indent
from typing import Any

__all__ = ["documented"]

_LINE = re.compile(r"^( *)\{([\w, ]+)\}$", re.MULTILINE)

_BLOCKS = {
    # Paragraphs
    "no_weights": """\
The estimator holds no weights: a process loads a checkpoint once and shares it
among clones.""",
    "auxiliary": """\
The text is not read: this is an auxiliary family, to stand beside contrastive
ones. The estimator holds no weights: a process loads a checkpoint once and shares
it among clones.""",
    # Parameters
    "revision": """\
revision : str or None, default=None
    Commit of a hub id; None is its newest.""",
    "no_revision": """\
revision : None
    Only None: a file on this machine has no commits.""",
    "crop": """\
crop : {{"windows", "center", "start"}}, default="windows"
    What is encoded of a clip longer than {longest}.
    ``"windows"`` averages the {rows} of
    {pieces} that cover it{joined};
    the others take one window. Never a random one.""",
    "blocks": """\
blocks : tuple or list of str, default=all
    Which parts of equation 1 to build, from ``"audio"``, ``"text"``,
    ``"product"``, ``"absdiff"``, ``"sqdiff"`` and ``"cosine"``.""",
    "device": """\
device : str or None, default=None
    Such as ``"cpu"`` or ``"cuda:0"``. None takes CUDA, else MPS, else the CPU.""",
    "dtype": """\
dtype : {{"float32", "bfloat16"}}, default="float32"
    Precision of the model. The result is float32.""",
    "backend": """\
backend : {{"clapstack", "{package}"}}, default="clapstack"
    Whose model classes run: clapstack's, or those of the authors' package, to
    compare with; that takes float32 and ``pip install "clapstack[reference]"``.
    What is encoded of a clip is the same, see :ref:`the guide <reference>`.""",
    "pairs_at_once": """\
batch_size : int, default=32
    Clips or texts per forward pass.""",
    "clips_alone": """\
batch_size : int, default=32
    Clips or texts that are read and stored together. Each goes through the model
    alone.""",
    "clips_at_once": """\
batch_size : int, default=32
    Clips per forward pass, at most. On a CPU one is taken.""",
    "equal_clips_at_once": """\
batch_size : int, default=32
    Clips per forward pass, at most; only clips of equal length share one. On a CPU
    one is taken.""",
    "cache": """\
cache : str, path-like or None, default="auto"
    Folder of the embedding store. ``"auto"`` is ``$CLAPSTACK_CACHE`` or the
    user's cache folder; None stores nothing, and every call encodes again.""",
    "verbose": """\
verbose : bool, default=False
    Whether to show progress bars.""",
    # Attributes
    "blocks_": """\
blocks_ : dict of str to int
    Name and width of each block of features.""",
    "projection_dim_": """\
projection_dim_ : int
    Width of an embedding.""",
    "sample_rate_": """\
sample_rate_ : int
    Sample rate of the encoder, in Hz.""",
    "fingerprint_": """\
fingerprint_ : str
    Fingerprint of the weights; `transform` refuses others.""",
    "seen_": """\
n_features_in_ : int
    Number of columns seen during :term:`fit`, 2.
feature_names_in_ : ndarray of shape (2,)
    ``audio`` and ``text``.""",
    # Methods
    "X_of_fit": """\
X : DataFrame of shape (n_pairs, 2)
    Columns ``audio`` and ``text``; other columns are ignored. Or rows of
    ``(audio, text)``. Only the columns are looked at.
y : None
    Ignored.""",
    # References
    "paper": """\
.. [{paper}] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
   Improving Text-Audio Alignment Correspondence Scoring", 2026.""",
}
# What most docstrings have in a block's own braces.
_WORDS = {
    "longest": "the encoder's window",
    "pieces": "evenly spaced windows",
    "rows": "features",
    "joined": "",
    "paper": "2",
}


def documented(**words: str) -> Callable[[Any], Any]:
    """Return a decorator that puts blocks into a docstring.

    Parameters
    ----------
    **words : str
        What stands in the blocks where they have names in braces.

    Examples
    --------
    >>> from clapstack.features._docstring import documented
    >>> @documented()
    ... def show(verbose=False):
    ...     '''Show.
    ...
    ...     {verbose}
    ...     '''
    >>> print(show.__doc__.splitlines()[3])
            Whether to show progress bars.
    """

    def with_blocks(line: re.Match[str]) -> str:
        blocks = [
            _BLOCKS[name].format(**(_WORDS | words)) for name in line[2].split(", ")
        ]
        return indent("\n".join(blocks), line[1])

    def decorate(thing: Any) -> Any:
        if thing.__doc__ is not None:  # as it is under python -OO
            thing.__doc__ = _LINE.sub(with_blocks, thing.__doc__)
        return thing

    return decorate
