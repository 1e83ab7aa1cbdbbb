"""The pre-allocated cache, and decoding steps compiled in one graph: the same tokens as with the growing cache."""

from typing import Any

import pytest
import torch

from tests.ladder.test_generation import assert_equal, clips, generate


@pytest.mark.promise("static cache")
@pytest.mark.parametrize("options", [{}, {"num_beams": 3}, {"return_timestamps": True}], ids=str)
def test_the_same_tokens(
    options: dict[str, Any], plain: Any, lifted: Any, trained: Any, features: torch.Tensor
) -> None:
    static = {"language": "en", "cache_implementation": "static", **options}
    assert_equal(generate(lifted, features, **static), generate(plain, features, **static))
    assert_equal(generate(trained, features, **static), generate(trained, features, language="en", **options))


@pytest.mark.promise("static cache")
def test_the_same_tokens_at_clip_length(trained: Any) -> None:
    trained.config.encoder_padding = "clip"
    features, _ = clips()
    static = generate(trained, features, language="en", cache_implementation="static")
    assert_equal(static, generate(trained, features, language="en"))


@pytest.mark.promise("compiled decoding")
@pytest.mark.parametrize("padding", ["window", "clip"])
def test_decoding_compiles_in_one_graph(padding: str, trained: Any, features: torch.Tensor) -> None:
    """``fullgraph`` raises at the first graph break; the graphs are counted, so that something was compiled."""
    from transformers import CompileConfig

    torch._dynamo.reset()
    graphs: list[Any] = []

    def keep(graph: Any, example: Any) -> Any:
        graphs.append(graph)
        return graph.forward

    trained.config.encoder_padding = padding
    expected = generate(trained, features, language="en")
    compiling = CompileConfig(backend=keep, mode=None, fullgraph=True, dynamic=False)
    compiling._compile_all_devices = True  # by itself generate() compiles on GPUs alone
    options = {"language": "en", "cache_implementation": "static", "compile_config": compiling}
    assert_equal(generate(trained, features, **options), expected)
    assert 1 <= len(graphs) <= 2, "a graph for every step would be no use"
