"""Docstring blocks shared by several transformers.

A line ``{device, cache}`` in a docstring is replaced by the blocks of these names, so
that ``help()``, the documentation and numpydoc's checks see the full text.
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
The estimator stores no weights: a process loads a checkpoint once and shares it
among clones.""",
    "auxiliary": """\
The text is ignored: this is an auxiliary family, meant to complement contrastive
ones. The estimator stores no weights: a process loads a checkpoint once and shares
it among clones.""",
    # Parameters
    "revision": """\
revision : str or None, default=None
    Commit of a hub repository. None means the latest.""",
    "no_revision": """\
revision : None
    Must be None: a local file has no revisions.""",
    "crop": """\
crop : {{"windows", "center", "start"}}, default="windows"
    How a clip longer than {longest} is encoded.
    ``"windows"`` averages the {rows} of
    {pieces} that cover it{joined};
    ``"center"`` and ``"start"`` encode a single window. Nothing is random.""",
    "blocks": """\
blocks : tuple or list of str, default=all
    Parts of equation 1 to build, chosen from ``"audio"``, ``"text"``,
    ``"product"``, ``"absdiff"``, ``"sqdiff"`` and ``"cosine"``.""",
    "device": """\
device : str or None, default=None
    Device of the encoder, such as ``"cpu"`` or ``"cuda:0"``. None selects CUDA if
    available, else MPS, else the CPU.""",
    "dtype": """\
dtype : {{"float32", "bfloat16"}}, default="float32"
    Precision of the model. Features are float32 in any case.""",
    "backend": """\
backend : {{"clapstack", "{package}"}}, default="clapstack"
    Model classes to run: clapstack's or, for comparison, those of the authors'
    package, which require float32 and ``pip install "clapstack[reference]"``. Both
    encode the same part of a clip, see :ref:`the guide <reference>`.""",
    "pairs_at_once": """\
batch_size : int, default=32
    Clips or texts per forward pass.""",
    "clips_alone": """\
batch_size : int, default=32
    Clips or texts read and stored together. The model processes each alone.""",
    "clips_at_once": """\
batch_size : int, default=32
    Maximum number of clips per forward pass. On a CPU it is always one.""",
    "equal_clips_at_once": """\
batch_size : int, default=32
    Maximum number of clips per forward pass; only clips of equal length share one.
    On a CPU it is always one.""",
    "cache": """\
cache : str, path-like or None, default="auto"
    Folder of the embedding store. ``"auto"`` means ``$CLAPSTACK_CACHE`` or, if that
    is unset, the user's cache folder. None disables the store: every call encodes
    again.""",
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
    Fingerprint of the weights; `transform` rejects other weights.""",
    "seen_": """\
n_features_in_ : int
    Number of columns seen during :term:`fit`, 2.
feature_names_in_ : ndarray of shape (2,)
    ``audio`` and ``text``.""",
    # Methods
    "X_of_fit": """\
X : DataFrame of shape (n_pairs, 2)
    Table with columns ``audio`` and ``text``, or rows of ``(audio, text)``. Other
    columns are ignored. The values are not read.
y : None
    Ignored.""",
    # References
    "paper": """\
.. [{paper}] S. Li, J. Li, T. Shinozaki, "Stacking Complementary CLAP Embeddings for
   Improving Text-Audio Alignment Correspondence Scoring", 2026.""",
}
# Default values of the placeholders inside blocks.
_WORDS = {
    "longest": "the encoder's window",
    "pieces": "evenly spaced windows",
    "rows": "features",
    "joined": "",
    "paper": "2",
}


def documented(**words: str) -> Callable[[Any], Any]:
    """Return a decorator that inserts shared blocks into a docstring.

    Parameters
    ----------
    **words : str
        Values of the placeholders inside blocks.

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
        if thing.__doc__ is not None:  # None under python -OO
            thing.__doc__ = _LINE.sub(with_blocks, thing.__doc__)
        return thing

    return decorate
