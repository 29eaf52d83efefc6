"""Synthesised sound classes; each call draws a new variation."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.signal import butter, sosfilt

__all__ = ["SYNTHESISED", "Synthesiser"]

SAMPLE_RATE = 16_000  # Hz

Samples = NDArray[np.float32]


class Synthesiser(NamedTuple):
    """A synthesised sound class: its taxonomy, words and formula."""

    name: str
    group: str
    words: tuple[str, ...]
    make: Callable[[np.random.Generator, int], NDArray[np.float64]]


def _seconds(n: int) -> NDArray[np.float64]:
    return np.arange(n) / SAMPLE_RATE


def _tone(frequency: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a sine of the given instantaneous frequency in Hz."""
    phase: NDArray[np.float64] = 2 * np.pi * np.cumsum(frequency) / SAMPLE_RATE
    return np.sin(phase)


def _band(
    rng: np.random.Generator, n: int, low: float, high: float
) -> NDArray[np.float64]:
    """Return white noise between two frequencies in Hz."""
    sos = butter(2, (low, high), "bandpass", fs=SAMPLE_RATE, output="sos")
    filtered: NDArray[np.float64] = sosfilt(sos, rng.standard_normal(n))
    return filtered


def _pulses(n: int, period: float, decay: float, first: float = 0.0) -> Samples:
    """Return exponential pulses every `period` seconds with a `decay` in seconds."""
    since = np.mod(_seconds(n) - first, period)
    pulses: Samples = np.exp(-since / decay).astype(np.float32)
    return pulses


def _rain(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    drops = rng.random(n) < rng.uniform(20, 60) / SAMPLE_RATE
    splashes = np.convolve(drops * rng.uniform(2, 6, n), _pulses(400, 1, 0.004))[:n]
    return np.asarray(_band(rng, n, 1000, 7000) * (0.5 + splashes))


def _siren(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    sweep = np.sin(2 * np.pi * rng.uniform(0.4, 1.0) * _seconds(n))
    return _tone(rng.uniform(800, 1100) + rng.uniform(250, 400) * sweep)


def _alarm_clock(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    beats = np.mod(_seconds(n) * rng.uniform(7, 9), 1) < 0.5
    rests = np.mod(_seconds(n), 1.0) < 0.55
    return np.asarray(
        np.sign(_tone(np.full(n, rng.uniform(1900, 2300)))) * beats * rests
    )


def _rising_tone(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    position = np.mod(_seconds(n) / rng.uniform(1.0, 1.6), 1)
    return _tone(rng.uniform(200, 350) * 10**position)


def _falling_tone(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    position = np.mod(_seconds(n) / rng.uniform(1.0, 1.6), 1)
    return _tone(rng.uniform(2000, 3000) * 0.1**position)


def _static(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    crackle = 1 + 3 * (rng.random(n) < 0.002)
    return rng.standard_normal(n) * crackle


def _dial_tone(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    pitch = rng.uniform(0.97, 1.03)
    return _tone(np.full(n, 350 * pitch)) + _tone(np.full(n, 440 * pitch))


def _ringing_phone(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    trill = 0.5 + 0.5 * np.sign(np.sin(2 * np.pi * rng.uniform(18, 24) * _seconds(n)))
    rings = np.mod(_seconds(n), 1.5) < 1.0
    low, high = rng.uniform(1200, 1400), rng.uniform(1700, 1900)
    bells = _tone(np.full(n, low)) * trill + _tone(np.full(n, high))
    return np.asarray(bells * rings)


def _clock(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    period = rng.uniform(0.45, 0.6)
    tick = _pulses(n, 2 * period, 0.006) * _band(rng, n, 2500, 5000)
    tock = _pulses(n, 2 * period, 0.008, period) * _band(rng, n, 1500, 3000)
    return np.asarray(tick + tock)


def _crickets(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    chirps = np.clip(np.sin(2 * np.pi * rng.uniform(14, 20) * _seconds(n)), 0, 1)
    bursts = np.mod(_seconds(n), rng.uniform(0.5, 0.8)) < 0.3
    return np.asarray(_tone(np.full(n, rng.uniform(4200, 5000))) * chirps * bursts)


def _laser(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    since = np.mod(_seconds(n), rng.uniform(0.3, 0.45))
    fall = _tone(250 + rng.uniform(2500, 4500) * np.exp(-since / 0.07))
    return np.asarray(fall * np.exp(-since / 0.12))


def _thunder(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    claps = sum(
        np.exp(-np.clip(_seconds(n) - start, 0, None) / rng.uniform(0.4, 1.0))
        * (_seconds(n) >= start)
        for start in rng.uniform(0, 0.6 * n / SAMPLE_RATE, 3)
    )
    return np.asarray(_band(rng, n, 30, 220) * (0.2 + claps))


def _ocean(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    swell = np.sin(2 * np.pi * (rng.uniform(0.25, 0.4) * _seconds(n) + rng.random()))
    return _band(rng, n, 200, 2500) * (0.15 + (0.5 + 0.5 * swell) ** 2)


def _heartbeat(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    period = rng.uniform(0.75, 1.0)
    beats = _pulses(n, period, 0.05) + 0.7 * _pulses(n, period, 0.05, 0.28)
    return _tone(np.full(n, rng.uniform(55, 75))) * beats


def _footsteps(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    period = rng.uniform(0.5, 0.65)
    heel = _pulses(n, period, 0.03) * _band(rng, n, 80, 500)
    sole = _pulses(n, period, 0.05, 0.08) * _band(rng, n, 800, 3500)
    return 2 * heel + 0.5 * sole


def _motor(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    base = rng.uniform(48, 70)
    partials = [
        _tone(np.full(n, base * k)) * rng.uniform(0.3, 1) / k for k in range(1, 12)
    ]
    beat = 1 + 0.2 * np.sin(2 * np.pi * rng.uniform(3, 6) * _seconds(n))
    return np.asarray(np.sum(partials, axis=0) * beat)


def _whistling(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    steps = rng.choice([0, 2, 4, 5, 7, 9, 12], size=n // 5000 + 1)
    notes = np.repeat(rng.uniform(900, 1100) * 2 ** (steps / 12), 5000)[:n]
    vibrato = 1 + 0.012 * np.sin(2 * np.pi * 5.5 * _seconds(n))
    return _tone(notes * vibrato) + 0.05 * _band(rng, n, 900, 3000)


def _organ(rng: np.random.Generator, n: int) -> NDArray[np.float64]:
    root = rng.uniform(180, 280)
    chord = sum(
        _tone(np.full(n, root * interval * k)) / k
        for interval in (1, 1.26, 1.5)
        for k in (1, 2, 3, 4)
    )
    return np.asarray(chord)


SYNTHESISED: tuple[Synthesiser, ...] = (
    Synthesiser("rain", "water", ("rain", "falling rain"), _rain),
    Synthesiser("siren", "alarm", ("a siren", "a wailing siren"), _siren),
    Synthesiser(
        "alarm_clock", "alarm", ("an alarm clock", "a beeping alarm"), _alarm_clock
    ),
    Synthesiser(
        "rising_tone", "tone", ("a rising tone", "an upward sweep"), _rising_tone
    ),
    Synthesiser(
        "falling_tone", "tone", ("a falling tone", "a downward sweep"), _falling_tone
    ),
    Synthesiser("static", "noise", ("radio static", "white noise"), _static),
    Synthesiser(
        "dial_tone", "phone", ("a dial tone", "a steady phone tone"), _dial_tone
    ),
    Synthesiser(
        "ringing_phone",
        "phone",
        ("a ringing phone", "a telephone ring"),
        _ringing_phone,
    ),
    Synthesiser("clock", "clock", ("a ticking clock", "a clock"), _clock),
    Synthesiser("crickets", "animal", ("crickets", "chirping crickets"), _crickets),
    Synthesiser("laser", "electronic", ("a laser gun", "laser shots"), _laser),
    Synthesiser("thunder", "noise", ("thunder", "rumbling thunder"), _thunder),
    Synthesiser("ocean", "water", ("ocean waves", "waves on a beach"), _ocean),
    Synthesiser("heartbeat", "human", ("a heartbeat", "a beating heart"), _heartbeat),
    Synthesiser("footsteps", "human", ("footsteps", "someone walking"), _footsteps),
    Synthesiser("motor", "machine", ("a humming motor", "an idling motor"), _motor),
    Synthesiser(
        "whistling", "whistle", ("someone whistling", "a whistled tune"), _whistling
    ),
    Synthesiser("organ", "keys", ("an organ", "an organ chord"), _organ),
)
