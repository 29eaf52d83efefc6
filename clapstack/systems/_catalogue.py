"""What each system is, what it reached in print, and what print does not say."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from clapstack.systems._families import CLAP_FAMILIES, FAMILIES, Family

__all__ = ["Figures", "SystemRecord", "describe_system", "list_systems"]


class Figures(NamedTuple):
    """Published figures of one split.

    Attributes
    ----------
    srcc, lcc, ktau, mse : float
        As printed.
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
        What :func:`~clapstack.make_system` takes.
    title : str
        What it is.
    rows : str
        Where it stands in print.
    families : tuple of str
        Families that it needs.
    optional : tuple of str
        Families that it has in print and can go without.
    regressor : str
        What follows the features: ``"ridge"``, ``"stack"``, ``"ensemble"``, ``"mlp"``
        or ``"svr"``.
    published : mapping of str to Figures
        Printed figures by split: ``"test"``, ``"validation"`` or ``"probe"``.
    notes : tuple of str
        Where print is silent and what was chosen.
    blocks : tuple of str or None
        Blocks of the pair features; None is all of equation 1.
    probe : tuple of int
        Training and validation pairs of its probe.
    preset : str
        Of a stack: see :func:`~clapstack.make_clap_stack`.
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
            lines.append(f"      {family.files}")
        lines.append("  Where print is silent:")
        for note in self.notes:
            lines += textwrap.wrap(
                note, 88, initial_indent="    - ", subsequent_indent="      "
            )
        return "\n".join(lines)


_CLIPS = (
    "How a clip longer than a model's window is heard: windows that cover it, averaged."
)
_RIDGE = (
    "The regressor of a single system: a ridge on scores, as in the stack's first "
    "level, its penalty 1.5 per standardised column."
)
_BEATS = (
    "Which systems BEATs logits join: all but BEATs alone, read from 'We concatenate "
    "these with BEATs logits' (section 3.1). beats=False leaves them out."
)
_PROBE = (
    "Which 512 and 128 pairs a probe uses: drawn from the training and the validation "
    "split, by seed (probe_split)."
)
_STACK = (
    "The stack's penalties, the width of its projections (32) and of the compression "
    "for the trees (128), and the trees' size: ClapStackingRegressor tells its choices."
)
_TARGET = (
    "When the final level learns ranks: the paper chose scores on test, and its "
    "validation MSE of 7 is of ranks. Here whichever orders better out of fold, mapped "
    "back to scores."
)
_PROBED = (_BEATS, _RIDGE, _PROBE, _CLIPS)
_BASELINE_MLP = (
    "One MLP with a layer of 256 units, stopped by a tenth of the training pairs, "
    "takes the place of the trained layers and of their losses."
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
        "MS-CLAP, the best single model",
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
            "Which MS-CLAP: the paper says 2024; its checkpoint is "
            "CLAP_weights_2023.pth, of the same publication.",
            *_PROBED,
        ),
    ),
    SystemRecord(
        "beats",
        "BEATs logits alone, which do not see the text",
        "Table 1, BEATs only",
        ("beats",),
        (),
        "ridge",
        {"test": Figures(0.2584, 0.2686, 0.1747, 5.7734)},
        (
            "Which BEATs checkpoint: iter3+ fine-tuned on AudioSet-2M, cpt2, which has "
            "the 527 classes.",
            _RIDGE,
            _CLIPS,
        ),
    ),
    SystemRecord(
        "clap-rank-ensemble",
        "mean of the ranks of three CLAP models",
        "Table 2, CLAP rank ensemble",
        CLAP_FAMILIES,
        ("beats",),
        "ensemble",
        {"validation": Figures(0.6061, 0.6357, 0.4358, 7.0520)},
        (
            "Which models it ranks (the three of the stack), and among what: among the "
            "out-of-fold predictions of the training pairs, so that a score does not "
            "depend on what else is predicted.",
            "The printed MSE is of ranks; here a line leads back to scores.",
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
        "stack of LAION unfused, LAION fused and MS-CLAP, the paper's system",
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
            "Which AudioMAE checkpoint: ViT-B/16 pre-trained on AudioSet-2M, not "
            "fine-tuned.",
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
            "Which EAT checkpoint: base, 30 epochs, pre-trained.",
            _PROBE.replace("512 and 128", "256 and 64"),
            _BEATS,
            _RIDGE,
            _CLIPS,
        ),
        probe=(256, 64),
    ),
    SystemRecord(
        "msclap+whisper+ctc",
        "MS-CLAP, Whisper encoder states and wav2vec 2.0 CTC transcripts",
        "Table 2, MS-CLAP + Whisper + CTC",
        ("msclap", "whisper", "ctc"),
        ("beats",),
        "ridge",
        {"probe": Figures(0.5676, 0.6393, 0.4165, 3.5478)},
        _PROBED,
    ),
    SystemRecord(
        "xacle-2026-baseline",
        "the shape of the organisers' first baseline: audio and text embeddings, "
        "regressed without any comparison of the two",
        "Tables 1 and 2, baseline",
        ("laion_unfused",),
        (),
        "mlp",
        {
            "test": Figures(0.3345, 0.3420, 0.2290, 4.8110),
            "validation": Figures(0.3844, 0.3961, 0.2646, 4.8361),
        },
        (
            "The shape only. The organisers train a BiLSTM over BYOL-A frames and "
            "RoBERTa's text embedding; neither encoder is here, so the two embeddings "
            "of LAION CLAP stand in their place and the figures do not compare.",
            _BASELINE_MLP,
        ),
        blocks=("audio", "text"),
    ),
    SystemRecord(
        "xacle-2027-baseline",
        "frozen M2D-CLAP and a small MLP, the organisers' second baseline",
        "its code's page",
        ("m2d_clap",),
        (),
        "mlp",
        {
            "test": Figures(0.5648, 0.6142, 0.3997, 3.1847),
            "validation": Figures(0.5844, 0.5995, 0.4186, 3.6368),
        },
        (
            "The features are theirs: both unit embeddings, concatenated.",
            _BASELINE_MLP,
        ),
        blocks=("audio", "text"),
    ),
    SystemRecord(
        "rank-2-like",
        "two RBF support vector regressors on CLAP embeddings and their distances",
        "official ranking of 2026, Chunarkar_NTHU_01",
        ("msclap", "laion_unfused"),
        ("m2d_clap", "mga_clap", "whisper"),
        "svr",
        {
            "test": Figures(0.6382, 0.6851, 0.4596, 2.8256),
            "validation": Figures(0.664, 0.680, 0.483, 3.114),
        },
        (
            "Like it, not it, by its code (Snehitc/EnsembleSVR-XACLE). Not here: the "
            "mean states of Whisper's decoder, which reads the text over the clip; "
            "and of its encoder, padding is left out here. "
            "It has LAION's hidden states, of a fused audio tower and an unfused text "
            "tower; here are the unfused model's embeddings. It hands clips of 16 kHz "
            "to MGA-CLAP and LAION as they are.",
            "The first regressor (epsilon .08) hears M2D-CLAP, MS-CLAP and MGA-CLAP, "
            "the second (.02) embeddings and L1 distance of LAION CLAP and Whisper's "
            "mean states; C = .5, gamma 'scale', scores on [-1, 1], rows normalised "
            "and columns standardised, as its authors did.",
            "Which Whisper: it has large-v2 (checkpoints={'whisper': "
            "'openai/whisper-large-v2'}); the family's default is the paper's base.",
            "The two are weighted out of fold, where its authors weighted predictions "
            "of the pairs that they had fitted on, and no distance is divided by the "
            "largest of its set.",
        ),
        blocks=("audio", "text", "cosine"),
    ),
    SystemRecord(
        "best-3-clap-stack",
        "the features of the paper's system under preset 'best'",
        "not in print",
        CLAP_FAMILIES,
        ("beats",),
        "stack",
        {},
        (
            "It was made on human scores of pairs of texts, where its errors are "
            "smaller than those of the paper's stack; no human rating of audio has "
            "judged it.",
            _BEATS,
            _CLIPS,
        ),
        preset="best",
    ),
)

_BY_NAME = {record.name: record for record in _RECORDS}


def list_systems() -> list[str]:
    """Return the names that :func:`~clapstack.make_system` takes.

    Returns
    -------
    names : list of str
        One per row of the paper's Tables 1 and 2 that is not another team's, the two
        official baselines, a system like the one ranked second in 2026, and one that is
        in no table.

    Examples
    --------
    >>> from clapstack import list_systems
    >>> list_systems()[:4]
    ['laion-unfused', 'laion-fused', 'laion-larger-general', 'msclap']
    """
    return list(_BY_NAME)


def describe_system(name: str) -> SystemRecord:
    """Return what a system is, needs and reached in print.

    Parameters
    ----------
    name : str
        One of :func:`~clapstack.list_systems`.

    Returns
    -------
    record : SystemRecord
        ``print`` it to read it.

    Raises
    ------
    ValueError
        If there is no such system.

    Examples
    --------
    >>> from clapstack.systems import describe_system
    >>> describe_system("3-clap-stack").published["test"].srcc
    0.5934
    """
    if name not in _BY_NAME:
        msg = f"There is no system {name!r}; there are {list_systems()}."
        raise ValueError(msg)
    return _BY_NAME[name]
