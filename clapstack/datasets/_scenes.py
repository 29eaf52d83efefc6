"""Simulated scenes: sounds, captions, and the alignment between them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter

from clapstack.datasets._sounds import recordings, sound_classes
from clapstack.datasets._synthesis import SAMPLE_RATE, SYNTHESISED

__all__ = [
    "SimulatedCaption",
    "SimulatedScene",
    "render_simulated_scene",
    "simulate_caption",
    "simulate_scene",
    "simulated_alignment",
]

DURATION = 10.0  # seconds, like XACLE's clips

SAME_GROUP_CREDIT = 0.4
ORDER_PENALTY = 0.25

# Edits of captions, by the scene's number of sounds. With these shares, neither the
# number of sounds nor the number of claims predicts the rating.
EDITS = ("right", "drop", "add", "replace", "swap", "other")
EDIT_SHARES = {
    1: (0.63, 0.00, 0.10, 0.21, 0.00, 0.06),
    2: (0.45, 0.05, 0.09, 0.15, 0.14, 0.12),
    3: (0.44, 0.10, 0.00, 0.20, 0.11, 0.15),
}
N_SOUNDS_SHARES = (0.35, 0.45, 0.20)

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class SoundEvent:
    """One sound in a scene: its class, onset and length in seconds, level in dB."""

    name: str
    onset: float
    length: float
    level: float


@dataclass(frozen=True)
class SimulatedScene:
    """One to three sounds, in order of onset, ``"sequence"`` or ``"mixture"``."""

    events: tuple[SoundEvent, ...]
    relation: str


@dataclass(frozen=True)
class SimulatedCaption:
    """A caption and its claims: class names in order of mention, and their relation."""

    text: str
    names: tuple[str, ...]
    relation: str
    edit: str


def simulate_scene(
    rng: np.random.Generator,
    *,
    duration: float = DURATION,
    names: Sequence[str] | None = None,
) -> SimulatedScene:
    """Draw a random scene.

    Parameters
    ----------
    rng : Generator
        Source of randomness.
    duration : float, default=10.0
        Length in seconds.
    names : sequence of str, default=None
        The sound classes; drawn at random if None.

    Returns
    -------
    scene : SimulatedScene
        One to three sounds in sequence, or as a mixture in which all but the first are
        up to 12 dB quieter than it.
    """
    if names is None:
        n_sounds = 1 + int(rng.choice(3, p=N_SOUNDS_SHARES))
        every = list(sound_classes())
        names = [every[k] for k in rng.choice(len(every), n_sounds, replace=False)]
    n_sounds = len(names)
    relation = "sequence" if n_sounds > 1 and rng.random() < 0.5 else "mixture"
    if relation == "sequence":
        slot = duration / n_sounds
        lengths = rng.uniform(0.55, 0.95, n_sounds) * slot
        onsets = np.arange(n_sounds) * slot + rng.uniform(0, 1, n_sounds) * (
            slot - lengths
        )
        levels = rng.uniform(-4, 0, n_sounds)
    else:
        lengths = rng.uniform(0.4, 0.9, n_sounds) * duration
        onsets = rng.uniform(0, 1, n_sounds) * (duration - lengths)
        levels = np.append(0.0, rng.uniform(-12, 0, n_sounds - 1))
    events = (
        SoundEvent(name, float(onset), float(length), float(level))
        for name, onset, length, level in zip(
            names, onsets, lengths, levels, strict=True
        )
    )
    return SimulatedScene(
        tuple(sorted(events, key=lambda event: event.onset)), relation
    )


def render_simulated_scene(
    scene: SimulatedScene,
    rng: np.random.Generator,
    *,
    duration: float = DURATION,
    held_out: bool | None = False,
) -> Samples:
    """Mix a scene's sounds over faint background noise.

    Parameters
    ----------
    scene : SimulatedScene
        The scene to render.
    rng : Generator
        Draws the recordings, repetitions and noise.
    duration : float, default=10.0
        Length in seconds.
    held_out : bool or None, default=False
        Recordings to use: those held out from the training of the bundled checkpoints,
        for classes that have some (True), the others (False), or any (None).

    Returns
    -------
    samples : ndarray of shape (n_samples,), float32
        16 kHz, in [-1, 1].
    """
    n_samples = round(duration * SAMPLE_RATE)
    white = rng.standard_normal(n_samples)
    background = lfilter([0.05], [1, -0.95], white)
    mix = background * 10 ** (rng.uniform(-60, -45) / 20) / background.std()
    for event in scene.events:
        sound = _render_event(event, rng, held_out)
        start = round(event.onset * SAMPLE_RATE)
        sound = sound[: n_samples - start]
        mix[start : start + len(sound)] += sound
    mix *= 10 ** (rng.uniform(-8, 0) / 20)
    mix *= min(1.0, 0.98 / np.abs(mix).max())
    return np.asarray(mix, dtype=np.float32)


def _render_event(
    event: SoundEvent, rng: np.random.Generator, held_out: bool | None
) -> NDArray[np.float64]:
    n_samples = round(event.length * SAMPLE_RATE)
    recorded = recordings().get(event.name)
    if recorded is None:
        make = next(made.make for made in SYNTHESISED if made.name == event.name)
        sound = make(rng, n_samples)
    else:
        pools = [False, True] if held_out is None else [held_out]
        pool = [sample for key in pools for sample in recorded.get(key, ())]
        pool = pool or list(recorded[False])
        sound = _repeat(pool[rng.integers(len(pool))], n_samples, rng)
    fade = min(400, n_samples // 4)
    sound[:fade] *= np.linspace(0, 1, fade)
    sound[-fade:] *= np.linspace(1, 0, fade)
    loudness = np.sqrt(np.mean(sound[np.abs(sound) > 0.02 * np.abs(sound).max()] ** 2))
    gain = min(0.12 / loudness, 0.9 / np.abs(sound).max())
    scaled: NDArray[np.float64] = sound * gain * 10 ** (event.level / 20)
    return scaled


def _repeat(
    sample: Samples, n_samples: int, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Repeat a recording, played slightly slower or faster."""
    speed = rng.uniform(0.95, 1.05)
    positions = np.arange(0, len(sample) - 1, speed)
    sample = np.interp(positions, np.arange(len(sample)), sample).astype(np.float32)
    gap = rng.uniform(0.1, 0.5)
    sound, start = np.zeros(n_samples), 0
    while start < n_samples:
        part = sample[: n_samples - start]
        sound[start : start + len(part)] += part * rng.uniform(0.8, 1)
        start += len(part) + int(gap * rng.uniform(0.6, 1.4) * SAMPLE_RATE)
    return sound


_SINGLE = ("{}", "the sound of {}", "{} can be heard")
_PATTERNS = {
    (1, "sequence"): _SINGLE,
    (1, "mixture"): _SINGLE,
    (2, "sequence"): ("{} followed by {}", "{}, then {}", "{} and afterwards {}"),
    (2, "mixture"): ("{} and {}", "{} with {}", "{} together with {}"),
    (3, "sequence"): ("{}, then {}, then {}", "{} followed by {} and finally {}"),
    (3, "mixture"): ("{}, {} and {}", "{} with {} and {}"),
}


def _pick(rng: np.random.Generator, options: Sequence[str]) -> str:
    return options[int(rng.integers(len(options)))]


def write_caption(names: Sequence[str], relation: str, rng: np.random.Generator) -> str:
    """Describe the sound classes in words, in order."""
    classes = sound_classes()
    said = [_pick(rng, classes[name].words) for name in names]
    return _pick(rng, _PATTERNS[len(said), relation]).format(*said)


def simulate_caption(
    scene: SimulatedScene, rng: np.random.Generator, *, edit: str | None = None
) -> SimulatedCaption:
    """Caption a scene, correctly or with one edit.

    Parameters
    ----------
    scene : SimulatedScene
        The scene to describe.
    rng : Generator
        Source of randomness.
    edit : {"right", "drop", "add", "replace", "swap", "other"}, default=None
        Difference between caption and scene: none; a sound omitted, added, or replaced
        (three times in ten by a near-synonym); two sounds swapped in order; or the
        caption of another scene. Drawn at random if None.

    Returns
    -------
    caption : SimulatedCaption
        The text and its claims.

    Raises
    ------
    ValueError
        If the edit would leave no claim or create a fourth.
    """
    names = [event.name for event in scene.events]
    relation = scene.relation
    if edit is None:
        edit = str(rng.choice(EDITS, p=EDIT_SHARES[len(names)]))
    if edit == "swap" and relation != "sequence":
        edit = "right"
    if (edit == "add" and len(names) == 3) or (edit == "drop" and len(names) == 1):
        msg = (
            f"a caption claims one to three sounds; cannot {edit} with {len(names)}. "
            "Choose another edit."
        )
        raise ValueError(msg)
    others = [name for name in sound_classes() if name not in names]
    if edit == "drop":
        del names[rng.integers(len(names))]
    elif edit == "add":
        names.insert(int(rng.integers(len(names) + 1)), _pick(rng, others))
        if len(names) == 2:
            relation = _pick(rng, ("sequence", "mixture"))
    elif edit == "replace":
        place = int(rng.integers(len(names)))
        group = sound_classes()[names[place]].group
        near = [name for name in others if sound_classes()[name].group == group]
        pool = near if near and rng.random() < 0.3 else others
        names[place] = _pick(rng, pool)
    elif edit == "swap":
        first = int(rng.integers(len(names) - 1))
        names[first], names[first + 1] = names[first + 1], names[first]
    elif edit == "other":
        n_others = 1 + int(rng.choice(3, p=N_SOUNDS_SHARES))
        names = [others[k] for k in rng.choice(len(others), n_others, replace=False)]
        relation = _pick(rng, ("sequence", "mixture"))
    text = write_caption(names, relation, rng)
    return SimulatedCaption(text, tuple(names), relation, edit)


def simulated_alignment(scene: SimulatedScene, caption: SimulatedCaption) -> float:
    """Return how well a caption's claims match a scene.

    Each claim earns the audibility of its sound (1 at 0 dB, .6 at -12 dB), or 0.4 of it
    for a near-synonym; claims are averaged. A wrong order costs 0.25.

    Parameters
    ----------
    scene : SimulatedScene
        The scene.
    caption : SimulatedCaption
        The caption to evaluate.

    Returns
    -------
    alignment : float
        In [0, 1].
    """
    classes = sound_classes()
    left = list(scene.events)
    heard: list[SoundEvent | None] = []
    credit = 0.0
    for same in (True, False):
        for place, name in enumerate(caption.names):
            if not same and heard[place] is not None:
                continue
            match = next(
                (
                    event
                    for event in left
                    if (
                        event.name == name
                        if same
                        else classes[event.name].group == classes[name].group
                    )
                ),
                None,
            )
            if match is not None:
                left.remove(match)
                credit += (1 + match.level / 30) * (1 if same else SAME_GROUP_CREDIT)
            if same:
                heard.append(match)
            else:
                heard[place] = match
    alignment = credit / len(caption.names)
    if caption.relation == "sequence" and scene.relation == "sequence":
        onsets = [event.onset for event in heard if event is not None]
        if onsets != sorted(onsets):
            alignment -= ORDER_PENALTY
    return max(alignment, 0.0)
