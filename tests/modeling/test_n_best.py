"""Lists of hypotheses: the best of the beams that ``generate()`` searches, with sums of their tokens' scores."""

from pathlib import Path

import pytest
import torch

from data.batches.features import LogMel
from modeling.checkpoints import open_model
from modeling.decoding import encode, generate_n_best, generate_tokens, log_probabilities, start_tokens
from tests.support.untrained import save_checkpoint


@pytest.mark.parametrize("timestamps", [False, True])
@pytest.mark.parametrize("padding", ["clip", None])
@pytest.mark.parametrize("before", [(), (97, 98)])
def test_hypotheses(tmp_path: Path, padding: str | None, timestamps: bool, before: tuple[int, ...]) -> None:
    folder = save_checkpoint(tmp_path / "model", ("az", "en"), padding, 40, timestamp_tokens=True)
    model = open_model(str(folder)).eval()
    config = model.generation_config
    config.suppress_tokens = [token for token in config.suppress_tokens if token != config.eos_token_id]
    frames = 3000 if padding is None else 204
    draw = torch.Generator().manual_seed(0)
    audio = 0.3 * torch.randn(2, frames * 160, generator=draw)
    encoded = encode(model, LogMel(80)(audio, frames), None if padding is None else [200, 150])
    before = () if not before else (config.prev_sot_token_id, *before)
    asked, how = (model, encoded, ["az", "en"], "transcribe", 12), {"timestamps": timestamps, "before": before}
    texts, scores = generate_n_best(*asked, beams=4, n_best=3, **how)
    best = generate_tokens(*asked, beams=4, **how).tolist()
    end = config.eos_token_id
    for row, (found, own) in enumerate(zip(texts, scores, strict=True)):
        assert found[0] == (best[row][: best[row].index(end)] if end in best[row] else best[row])
        assert len({tuple(ids) for ids in found}) == 3
        means = [score / min(len(ids) + 1, 12) for ids, score in zip(found, own, strict=True)]
        assert means == sorted(means, reverse=True)
        if timestamps:
            continue  # their rules make scores of what may come alone
        language = ["az", "en"][row]
        prompt = [*before, *start_tokens(model, language, "transcribe", timestamps)]
        for ids, score in zip(found, own, strict=True):
            labels = ([*ids, end])[:12]
            tokens = torch.tensor([[*prompt, *labels[:-1]]])
            counted = torch.tensor([[-100] * (len(prompt) - 1) + labels])
            lengths = None if padding is None else [200, 150]
            alone = encode(model, LogMel(80)(audio, frames), lengths)
            for name, value in alone.items():
                if value is not None:
                    alone[name] = value[row : row + 1]
            likely, _ = log_probabilities(model, alone, tokens, counted)
            assert float(likely.sum()) == pytest.approx(score, abs=1e-2)
