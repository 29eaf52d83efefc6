"""Catalogue of the systems: families, published results, choices of ours."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from clapstack._numerics.suggestions import did_you_mean
from clapstack.systems._families import CLAP_FAMILIES, FAMILIES, Family

__all__ = ["Figures", "SystemRecord", "describe_system", "list_systems"]


class Figures(NamedTuple):
    """Published figures of one split.

    Attributes
    ----------
    srcc, lcc, ktau, mse : float
        Metrics as printed in the publication.
    """

    srcc: float
    lcc: float
    ktau: float
    mse: float


@dataclass(frozen=True)
class SystemRecord:
    """A system by name.

    Attributes
    ----------
    name : str
        Name for :func:`~clapstack.make_system`.
    title : str
        Description in one line.
    rows : str
        Place in the publication.
    families : tuple of str
        Required families.
    optional : tuple of str
        Families of the published system that can be left out.
    regressor : str
        Regressor on the features: ``"ridge"``, ``"stack"``, ``"ensemble"``, ``"mlp"``
        or ``"svr"``.
    published : mapping of str to Figures
        Published figures by split: ``"test"``, ``"validation"`` or ``"probe"``.
    notes : tuple of str
        Choices where the publication gives no details.
    blocks : tuple of str or None
        Blocks of the pair features; None means all of equation 1.
    probe : tuple of int
        Number of training and validation pairs in its probe.
    preset : str
        Preset of a stack; see :func:`~clapstack.make_clap_stack`.
    """

    name: str
    title: str
    rows: str
    families: tuple[str, ...]
    optional: tuple[str, ...]
    regressor: str
    published: Mapping[str, Figures]
    notes: tuple[str, ...]
    blocks: tuple[str, ...] | None = None
    probe: tuple[int, int] = (512, 128)
    preset: str = "paper"

    @property
    def needs(self) -> list[Family]:
        """Return every family with its published checkpoint and files."""
        return [FAMILIES[name] for name in (*self.families, *self.optional)]

    def __str__(self) -> str:
        lines = [f"{self.name}: {self.title} ({self.rows})"]
        lines += [
            f"  {split:<10} SRCC {f.srcc:.4f}  LCC {f.lcc:.4f}  "
            f"KTAU {f.ktau:.4f}  MSE {f.mse:.4f}"
            for split, f in self.published.items()
        ]
        lines.append("  Checkpoints:")
        for family in self.needs:
            mark = "" if family.name in self.families else " (can be left out)"
            lines.append(f"    {family.name} = {family.published}{mark}")
            lines += _wrapped(family.files, "      ", "      ")
        lines.append("  Choices where the publication gives no details:")
        for note in self.notes:
            lines += _wrapped(note, "    - ", "      ")
        return "\n".join(lines)


def _wrapped(text: str, first: str, indent: str) -> list[str]:
    """Return a text in lines for a terminal of 80 columns; no name is broken."""
    return textwrap.wrap(
        text,
        80,
        initial_indent=first,
        subsequent_indent=indent,
        break_long_words=False,
        break_on_hyphens=False,
    )


_CLIPS = "Clips longer than a model's window: windows that cover the clip, averaged."
_RIDGE = (
    "Regressor of a single system: a ridge on scores with a penalty of 1.5 per "
    "standardised column, as in the first level of the stack."
)
_BEATS = (
    "Systems with BEATs logits: all but BEATs alone, following 'We concatenate these "
    "with BEATs logits' (section 3.1). beats=False leaves them out."
)
_PROBE = (
    "The 512 and 128 pairs of a probe: drawn at random from the training and the "
    "validation split (probe_split)."
)
_STACK = (
    "Penalties of the stack, width of its projections (32) and of the compression for "
    "the trees (128), and size of the trees: see ClapStackingRegressor."
)
_TARGET = (
    "Target of the final level: scores or ranks, whichever has the higher out-of-fold "
    "SRCC, with ranks mapped back to scores. The paper chose scores on test, and its "
    "validation MSE of 7 is that of ranks."
)
_PROBED = (_BEATS, _RIDGE, _PROBE, _CLIPS)
_BASELINE_MLP = (
    "One MLP with a layer of 256 units, with early stopping on a tenth of the training "
    "pairs, replaces the trained layers and their losses."
)

_RECORDS = (
    SystemRecord(
        "laion-unfused",
        "LAION CLAP, unfused HTSAT",
        "Table 1, LAION CLAP single; Table 2, LAION unfused CLAP",
        ("laion_unfused",),
        ("beats",),
        "ridge",
        {
            "test": Figures(0.5361, 0.5842, 0.3784, 3.3782),
            "validation": Figures(0.5988, 0.6286, 0.4302, 3.4297),
        },
        (_BEATS, _RIDGE, _CLIPS),
    ),
    SystemRecord(
        "laion-fused",
        "LAION CLAP, fused HTSAT",
        "Table 1, LAION fused CLAP single; Table 2, LAION fused CLAP",
        ("laion_fused",),
        ("beats",),
        "ridge",
        {
            "test": Figures(0.5083, 0.5530, 0.3570, 3.5872),
            "validation": Figures(0.5631, 0.5926, 0.4016, 3.6744),
        },
        (_BEATS, _RIDGE, _CLIPS),
    ),
    SystemRecord(
        "laion-larger-general",
        "LAION larger CLAP general",
        "Table 2, LAION larger-general CLAP",
        ("laion_larger_general",),
        ("beats",),
        "ridge",
        {"probe": Figures(0.4858, 0.5180, 0.3468, 4.3842)},
        _PROBED,
    ),
    SystemRecord(
        "msclap",
        "MS-CLAP, the best single model of the paper",
        "Table 1, MS-CLAP single; Table 2, MS-CLAP and MS-CLAP only",
        ("msclap",),
        ("beats",),
        "ridge",
        {
            "test": Figures(0.5521, 0.6035, 0.3901, 3.2500),
            "validation": Figures(0.5979, 0.6135, 0.4288, 3.5347),
            "probe": Figures(0.5712, 0.6002, 0.4107, 3.8371),
        },
        (
            "Version of MS-CLAP: the paper cites 2024; the checkpoint of that "
            "publication is CLAP_weights_2023.pth.",
            *_PROBED,
        ),
    ),
    SystemRecord(
        "beats",
        "BEATs logits alone, which ignore the text",
        "Table 1, BEATs only",
        ("beats",),
        (),
        "ridge",
        {"test": Figures(0.2584, 0.2686, 0.1747, 5.7734)},
        (
            "BEATs checkpoint: iter3+ fine-tuned on AudioSet-2M, cpt2, which has the "
            "527 classes.",
            _RIDGE,
            _CLIPS,
        ),
    ),
    SystemRecord(
        "clap-rank-ensemble",
        "mean of the predicted ranks of three CLAP models",
        "Table 2, CLAP rank ensemble",
        CLAP_FAMILIES,
        ("beats",),
        "ensemble",
        {"validation": Figures(0.6061, 0.6357, 0.4358, 7.0520)},
        (
            "Models of the ensemble: the three of the stack. A prediction is ranked "
            "among the out-of-fold predictions of the training pairs, so that a score "
            "does not depend on the other predicted pairs.",
            "The published MSE is that of ranks; here a line maps ranks to scores.",
            _BEATS,
            _CLIPS,
        ),
    ),
    SystemRecord(
        "2-clap-stack",
        "stack of LAION unfused and MS-CLAP",
        "Tables 1 and 2, 2-CLAP stack",
        ("laion_unfused", "msclap"),
        ("beats",),
        "stack",
        {
            "test": Figures(0.5852, 0.6396, 0.4165, 3.0153),
            "validation": Figures(0.6439, 0.6671, 0.4664, 7.0548),
        },
        (_BEATS, _STACK, _TARGET, _CLIPS),
    ),
    SystemRecord(
        "3-clap-stack",
        "the paper's stack of LAION unfused, fused and MS-CLAP",
        "Tables 1 and 2, 3-CLAP stack",
        CLAP_FAMILIES,
        ("beats",),
        "stack",
        {
            "test": Figures(0.5934, 0.6507, 0.4233, 2.9418),
            "validation": Figures(0.6476, 0.6718, 0.4698, 7.1189),
        },
        (_BEATS, _STACK, _TARGET, _CLIPS),
    ),
    SystemRecord(
        "msclap+wavlm",
        "MS-CLAP and WavLM Large",
        "Table 2, MS-CLAP + WavLM Large",
        ("msclap", "wavlm"),
        ("beats",),
        "ridge",
        {"probe": Figures(0.5619, 0.6140, 0.4062, 3.7158)},
        _PROBED,
    ),
    SystemRecord(
        "msclap+audiomae",
        "MS-CLAP and AudioMAE",
        "Table 2, MS-CLAP + AudioMAE",
        ("msclap", "audiomae"),
        ("beats",),
        "ridge",
        {"probe": Figures(0.5452, 0.5716, 0.3879, 4.0314)},
        (
            "AudioMAE checkpoint: ViT-B/16 pre-trained on AudioSet-2M, not fine-tuned.",
            *_PROBED,
        ),
    ),
    SystemRecord(
        "msclap+eat",
        "MS-CLAP and EAT",
        "Table 2, MS-CLAP + EAT (smoke)",
        ("msclap", "eat"),
        ("beats",),
        "ridge",
        {"probe": Figures(0.4956, 0.5978, 0.3679, 4.9569)},
        (
            "EAT checkpoint: base, 30 epochs, pre-trained.",
            _PROBE.replace("512 and 128", "256 and 64"),
            _BEATS,
            _RIDGE,
            _CLIPS,
        ),
        probe=(256, 64),
    ),
    SystemRecord(
        "msclap+whisper+ctc",
        "MS-CLAP, Whisper states and wav2vec 2.0 CTC transcripts",
        "Table 2, MS-CLAP + Whisper + CTC",
        ("msclap", "whisper", "ctc"),
        ("beats",),
        "ridge",
        {"probe": Figures(0.5676, 0.6393, 0.4165, 3.5478)},
        _PROBED,
    ),
    SystemRecord(
        "xacle-2026-baseline",
        "like the first official baseline: an MLP on both embeddings",
        "Tables 1 and 2, baseline",
        ("laion_unfused",),
        (),
        "mlp",
        {
            "test": Figures(0.3345, 0.3420, 0.2290, 4.8110),
            "validation": Figures(0.3844, 0.3961, 0.2646, 4.8361),
        },
        (
            "Only the structure is the same. The organisers train a BiLSTM on BYOL-A "
            "frames and RoBERTa's text embedding. Neither encoder is available here, "
            "so the two embeddings of LAION CLAP replace them, and the figures are not "
            "comparable.",
            _BASELINE_MLP,
        ),
        blocks=("audio", "text"),
    ),
    SystemRecord(
        "xacle-2027-baseline",
        "the second official baseline: a small MLP on frozen M2D-CLAP",
        "page of its code",
        ("m2d_clap",),
        (),
        "mlp",
        {
            "test": Figures(0.5648, 0.6142, 0.3997, 3.1847),
            "validation": Figures(0.5844, 0.5995, 0.4186, 3.6368),
        },
        (
            "Features as in the baseline: both unit embeddings, concatenated.",
            _BASELINE_MLP,
        ),
        blocks=("audio", "text"),
    ),
    SystemRecord(
        "rank-2-like",
        "two RBF SVRs on CLAP embeddings and their distances",
        "official ranking of 2026, Chunarkar_NTHU_01",
        ("msclap", "laion_unfused"),
        ("m2d_clap", "mga_clap", "whisper"),
        "svr",
        {
            "test": Figures(0.6382, 0.6851, 0.4596, 2.8256),
            "validation": Figures(0.664, 0.680, 0.483, 3.114),
        },
        (
            "Similar to the ranked system, following its code (Snehitc/"
            "EnsembleSVR-XACLE), but not identical. Missing here: the mean states of "
            "Whisper's decoder, which reads the text over the clip. Different here: "
            "padding is excluded from the mean states of Whisper's encoder, and the "
            "embeddings of unfused LAION CLAP replace hidden states of a fused audio "
            "tower and an unfused text tower. The code passes 16 kHz clips to MGA-CLAP "
            "and LAION CLAP without resampling.",
            "As in the code: the first regressor (epsilon .08) uses M2D-CLAP, MS-CLAP "
            "and MGA-CLAP; the second (.02) uses embeddings and L1 distance of LAION "
            "CLAP and Whisper's mean states; C = .5, gamma 'scale', scores on [-1, 1], "
            "rows normalised and columns standardised.",
            "Whisper: the system has large-v2 (checkpoints={'whisper': "
            "'openai/whisper-large-v2'}); the default of the family is base, as in the "
            "paper.",
            "The weights of the two regressors are fitted out of fold; the code fits "
            "them on predictions for training pairs. Distances are not divided by the "
            "largest of the set.",
        ),
        blocks=("audio", "text", "cosine"),
    ),
    SystemRecord(
        "best-3-clap-stack",
        "the 3-CLAP stack with the preset 'best'",
        "not published",
        CLAP_FAMILIES,
        ("beats",),
        "stack",
        {},
        (
            "Developed on human scores of pairs of texts, where its errors are smaller "
            "than those of the paper's stack. It has not been evaluated on human "
            "ratings of audio.",
            _BEATS,
            _CLIPS,
        ),
        preset="best",
    ),
)

_BY_NAME = {record.name: record for record in _RECORDS}


def list_systems() -> list[str]:
    """Return the names of all systems for :func:`~clapstack.make_system`.

    Returns
    -------
    names : list of str
        The authors' systems in Tables 1 and 2 of the paper, the two official baselines,
        a system like the one ranked second in 2026, and ``"best-3-clap-stack"``, which
        is not published.

    Examples
    --------
    >>> from clapstack import list_systems
    >>> list_systems()[:4]
    ['laion-unfused', 'laion-fused', 'laion-larger-general', 'msclap']
    """
    return list(_BY_NAME)


def describe_system(name: str) -> SystemRecord:
    """Return the description, required files and published results of a system.

    Parameters
    ----------
    name : str
        One of :func:`~clapstack.list_systems`.

    Returns
    -------
    record : SystemRecord
        Print it for a readable summary.

    Raises
    ------
    ValueError
        If `name` is unknown.

    Examples
    --------
    >>> from clapstack.systems import describe_system
    >>> describe_system("3-clap-stack").published["test"].srcc
    0.5934
    """
    if name not in _BY_NAME:
        guess = did_you_mean(name, _BY_NAME)
        msg = f"There is no system {name!r}; there are {list_systems()}.{guess}"
        raise ValueError(msg)
    return _BY_NAME[name]
