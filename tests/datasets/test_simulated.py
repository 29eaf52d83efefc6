import numpy as np
import pandas as pd
import pytest
import soundfile as sf
from scipy.stats import spearmanr

from clapstack.datasets import (
    load_bundled_sounds,
    load_xacle,
    make_simulated_xacle,
    render_simulated_scene,
    simulate_caption,
    simulate_ratings,
    simulate_scene,
    simulated_alignment,
    sound_classes,
)
from clapstack.datasets._scenes import (
    ORDER_PENALTY,
    SAME_GROUP_CREDIT,
    SimulatedCaption,
    SimulatedScene,
    SoundEvent,
)
from clapstack.metrics import noise_ceiling


def draw_world(n_pairs, seed=0):
    pairs = []
    for i in range(n_pairs):
        rng = np.random.default_rng([seed, i])
        scene = simulate_scene(rng)
        pairs.append((scene, simulate_caption(scene, rng)))
    alignments = np.array([simulated_alignment(*pair) for pair in pairs])
    ratings, listeners = simulate_ratings(alignments, np.random.default_rng(seed))
    return pairs, ratings, listeners


@pytest.fixture(scope="module")
def world():
    return draw_world(4000)


def two_sounds(relation="sequence"):
    events = (
        SoundEvent("cow", onset=0.5, length=3.0, level=0.0),
        SoundEvent("siren", onset=5.5, length=3.0, level=0.0),
    )
    return SimulatedScene(events, relation)


def claim(*names, relation="sequence"):
    return SimulatedCaption("", names, relation, "right")


def test_listeners_are_as_unreliable_as_human_ones(world):
    _, ratings, _ = world
    pair = np.repeat(np.arange(len(ratings)), ratings.shape[1])
    reliability = noise_ceiling(pair, ratings.ravel()).reliability
    assert reliability == pytest.approx(0.76, abs=0.03)


def test_ratings_are_whole_numbers_from_0_to_10(world):
    _, ratings, _ = world
    assert np.issubdtype(ratings.dtype, np.integer)
    assert set(np.unique(ratings)) == set(range(11))


def test_each_pair_has_four_different_listeners(world):
    _, _, listeners = world
    assert all(len(set(row)) == 4 for row in listeners)


def test_number_of_claims_and_sounds_do_not_tell_the_rating(world):
    pairs, ratings, _ = world
    mean = ratings.mean(axis=1)
    claims = [len(caption.names) for _, caption in pairs]
    sounds = [len(scene.events) for scene, _ in pairs]
    lengths = [len(caption.text) for _, caption in pairs]
    for cue in (claims, sounds, lengths):
        assert abs(spearmanr(cue, mean).statistic) < 0.10


def test_right_captions_are_rated_above_edited_and_edited_above_other(world):
    pairs, ratings, _ = world
    mean = pd.Series(ratings.mean(axis=1))
    by_edit = mean.groupby([caption.edit for _, caption in pairs]).mean()
    assert by_edit["right"] > by_edit["swap"] > by_edit["replace"] > by_edit["other"]


def test_right_caption_is_fully_aligned():
    assert simulated_alignment(two_sounds(), claim("cow", "siren")) == 1.0


def test_swapped_order_costs_the_order_penalty():
    swapped = simulated_alignment(two_sounds(), claim("siren", "cow"))
    assert swapped == pytest.approx(1 - ORDER_PENALTY)


def test_order_does_not_matter_in_a_mixture():
    scene = two_sounds("mixture")
    assert simulated_alignment(scene, claim("siren", "cow", relation="mixture")) == 1.0


def test_missing_sound_costs_its_share():
    assert simulated_alignment(two_sounds(), claim("cow", "piano")) == 0.5


def test_near_synonym_earns_partial_credit():
    assert sound_classes()["sheep"].group == sound_classes()["cow"].group
    earned = simulated_alignment(two_sounds(), claim("sheep"))
    assert earned == pytest.approx(SAME_GROUP_CREDIT)


def test_one_sound_does_not_satisfy_two_claims():
    assert simulated_alignment(two_sounds(), claim("cow", "sheep", "horse")) < 0.5


def test_caption_of_another_scene_names_none_of_its_sounds():
    scene = two_sounds()
    for seed in range(20):
        caption = simulate_caption(scene, np.random.default_rng(seed), edit="other")
        assert not {"cow", "siren"} & set(caption.names)


def test_every_class_can_be_heard():
    for name in sorted(sound_classes()):
        rng = np.random.default_rng(0)
        scene = simulate_scene(rng, names=[name])
        samples = render_simulated_scene(scene, rng)
        assert samples.dtype == np.float32
        assert samples.shape == (160_000,)
        assert np.abs(samples).max() <= 1.0
        event = scene.events[0]
        start = round(event.onset * 16_000)
        inside = samples[start : start + round(event.length * 16_000)]
        outside = np.r_[samples[:start], samples[start + len(inside) :]]
        assert np.std(inside) > 3 * np.std(outside), name


def test_same_seed_gives_the_same_scene_for_any_size(tmp_path):
    for n_train, name in ((2, "a"), (4, "b")):
        make_simulated_xacle(
            tmp_path / name, n_train=n_train, n_validation=0, n_test=0, random_state=5
        )
    first, second = (tmp_path / k / "wav/train/00001.wav" for k in "ab")
    assert first.read_bytes() == second.read_bytes()


def test_folder_is_refused_if_it_holds_something(tmp_path):
    (tmp_path / "mine.txt").write_text("precious")
    with pytest.raises(FileExistsError, match="not empty"):
        make_simulated_xacle(tmp_path, n_train=1, n_validation=0, n_test=0)


def test_clips_have_the_format_of_the_challenge(challenge_folder):
    info = sf.info(challenge_folder / "wav" / "train" / "00000.wav")
    assert (info.samplerate, info.channels, info.subtype) == (16_000, 1, "PCM_16")
    assert info.frames == 160_000


def test_listeners_of_splits_are_disjoint(challenge_folder):
    listeners = [
        set(load_xacle(challenge_folder, split).ratings["listener_id"])
        for split in ("train", "validation", "test")
    ]
    assert not set.intersection(*listeners[:2])
    assert not listeners[2] & (listeners[0] | listeners[1])


def test_every_recording_names_a_licence_that_may_ship():
    sounds = load_bundled_sounds()
    assert set(sounds["licence"]) == {"CC0-1.0", "CC-BY-3.0"}
    assert sounds["author"].str.len().gt(0).all()
    assert sounds["source"].str.len().gt(0).all()


def test_every_recording_is_mono_16_khz_and_short():
    for path in load_bundled_sounds()["path"]:
        info = sf.info(path)
        assert (info.samplerate, info.channels) == (16_000, 1)
        assert info.duration <= 4.0


def test_every_class_has_a_recording_that_training_may_hear():
    sounds = load_bundled_sounds()
    assert (~sounds["held_out"]).groupby(sounds["class"]).any().all()


def test_words_of_classes_are_all_different():
    words = [word for entry in sound_classes().values() for word in entry.words]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(("edit", "n_sounds"), [("add", 3), ("drop", 1)])
def test_edit_that_leaves_no_caption_is_refused(edit, n_sounds):
    rng = np.random.default_rng(0)
    scene = simulate_scene(rng, names=["cow", "siren", "piano"][:n_sounds])
    with pytest.raises(ValueError, match=f"cannot {edit} with {n_sounds}"):
        simulate_caption(scene, rng, edit=edit)
