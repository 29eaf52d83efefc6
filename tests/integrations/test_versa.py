import pytest
import soundfile as sf

from clapstack import Scorer
from clapstack.integrations.versa import (
    clapstack_metric,
    clapstack_setup,
    register_clapstack_metric,
)


@pytest.fixture
def clip(clips):
    return str(clips / "0.wav")


def test_a_clip_has_the_score_of_the_scorer(model_file, clip):
    samples, rate = sf.read(clip)
    found = clapstack_metric(clapstack_setup(model_file), samples, rate, "rain")
    expected = Scorer(model_file).score(clip, "rain")[0]
    assert found == {"clapstack": pytest.approx(expected, abs=1e-6)}


def test_the_scorer_of_versa_takes_the_metric(model_file, clip):
    pytest.importorskip("versa")
    from versa.definition import MetricRegistry
    from versa.scorer_shared import VersaScorer

    registry = MetricRegistry()
    register_clapstack_metric(registry)
    scorer = VersaScorer(registry)
    config = [{"name": "clapstack", "model": str(model_file)}]
    suite = scorer.load_metrics(config, use_gt=False, use_gt_text=True)
    (found,) = scorer.score_utterances(
        {"a": clip}, suite, text_info={"a": "rain"}, io="soundfile"
    )
    expected = Scorer(model_file).score(clip, "rain")[0]
    assert found == {"key": "a", "clapstack": pytest.approx(expected, abs=1e-6)}
