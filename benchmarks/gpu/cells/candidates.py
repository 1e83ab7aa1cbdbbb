"""What might make the model faster, measured outside it: each beside what the model does now, with what it gets wrong.

Where it is not faster, or not equal within rounding, it has no place in the model.
"""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from benchmarks.decoding.live_bytes import peak_live_bytes
from modeling import DualWhisperConfig
from modeling.network.attention import additive, attend
from modeling.network.decoder_layer import DualWhisperDecoderLayer
from modeling.network.encoder import DualWhisperEncoderLayer
from modeling.network.losses import IGNORED, token_loss_sum
from modeling.published import published_shape
from trainer.engine.device import exact_kernels

from ..device import far_off, graph_of, milliseconds, usual_milliseconds
from ..setting import Part, Setting, Skipped

CHUNKS = (512, 1024, 2048, 4096, 8192)
LENGTHS = (180, 163, 201, 150, 222)  # encoder positions
HELD, TOKENS = 64, 32  # tokens that a static cache has room for, and that are timed


def candidates(setting: Setting) -> Iterator[Part]:
    """Measured with the kernels that the model has, without cuDNN's attention; it stays off afterwards."""
    for name, measure in MEASURED.items():
        yield Part(name, exact_kernels()(partial(measure, setting)))


def shape_of(setting: Setting) -> DualWhisperConfig:
    """small's; on CPUs a smaller one."""
    shape = dict(published_shape("openai/whisper-small") or {})
    if setting.on_cpu:
        shape |= {"d_model": 64, "encoder_attention_heads": 2, "decoder_attention_heads": 2, "decoder_layers": 2}
        shape |= {"encoder_ffn_dim": 128, "decoder_ffn_dim": 128, "vocab_size": 2048}
    return DualWhisperConfig(**shape)


def random(setting: Setting, *shape: int) -> torch.Tensor:
    torch.manual_seed(len(shape))
    return torch.randn(*shape, device=setting.device).to(setting.dtype)


def with_gradients(output: Callable[[], torch.Tensor], of: list[torch.Tensor]) -> Callable[[], Any]:
    """Both passes of what ``output`` computes."""

    def work() -> Any:
        found = output()
        return torch.autograd.grad(found, of, torch.ones_like(found))

    return work


def variable_length(setting: Setting) -> dict[str, Any]:
    """Self-attention over clips of spread lengths: padded with a mask, and packed without padding."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError as error:
        raise Skipped(f"this torch has no variable-length attention: {error}") from None
    if setting.on_cpu:
        raise Skipped("variable-length attention needs a CUDA GPU")
    found = []
    for rows, longest in ((64, 222), (16, 1500)):
        lengths = torch.linspace(longest / 2, longest, rows, device=setting.device).int()
        real = torch.arange(longest, device=setting.device) < lengths[:, None]
        padded = [one.requires_grad_() for one in random(setting, *(3, rows, 12, longest, 64)).unbind()]
        packed = [one.detach().transpose(1, 2)[real].contiguous().requires_grad_() for one in padded]
        ends = F.pad(lengths.cumsum(0), (1, 0)).int()

        mask = additive(real[:, None, None], setting.dtype)

        def masked(padded: Any = padded, mask: Any = mask) -> torch.Tensor:
            return F.scaled_dot_product_attention(*padded, attn_mask=mask)

        def varied(packed: Any = packed, ends: Any = ends, longest: int = longest) -> torch.Tensor:
            output: torch.Tensor = varlen_attn(*packed, ends, ends, longest, longest)
            return output

        found.append(
            {
                "shape": [rows, 12, longest, 64],
                "masked_milliseconds": usual_milliseconds(with_gradients(masked, padded), setting.device),
                "packed_milliseconds": usual_milliseconds(with_gradients(varied, packed), setting.device),
                "off_by": far_off(varied(), masked().transpose(1, 2)[real]),
            }
        )
    return {"shapes": found}


def one_product(setting: Setting) -> dict[str, Any]:
    """Three products with a weight each, and one with all three weights side by side."""
    width = shape_of(setting).d_model
    states = random(setting, setting.size(64 * 180, 24), width).requires_grad_()
    layers = [nn.Linear(width, width).to(setting.device, setting.dtype) for _ in range(3)]
    together = nn.Linear(width, 3 * width).to(setting.device, setting.dtype)
    with torch.no_grad():
        together.weight.copy_(torch.cat([layer.weight for layer in layers]))
        together.bias.copy_(torch.cat([layer.bias for layer in layers]))

    def apart() -> torch.Tensor:
        return torch.cat([layer(states) for layer in layers], dim=1)

    def as_one() -> torch.Tensor:
        output: torch.Tensor = together(states)
        return output

    def three() -> Any:
        found = [layer(states) for layer in layers]
        weights = [parameter for layer in layers for parameter in layer.parameters()]
        return torch.autograd.grad(found, [states, *weights], [torch.ones_like(one) for one in found])

    one = with_gradients(as_one, [states, *together.parameters()])
    return {
        "shape": list(states.shape),
        "three_milliseconds": usual_milliseconds(three, setting.device),
        "one_milliseconds": usual_milliseconds(one, setting.device),
        "off_by": far_off(as_one(), apart()),
    }


def compiled_layer(setting: Setting) -> dict[str, Any]:
    """An encoder layer under autocast at changing lengths, as it is and compiled with dynamic shapes."""
    config = shape_of(setting)
    torch.manual_seed(0)
    layer = DualWhisperEncoderLayer(config).to(setting.device)
    compiled = torch.compile(layer, dynamic=True, backend=setting.size("inductor", "eager"))
    rows, found = setting.size(64, 1), []
    for length in LENGTHS:
        states = random(setting, rows, length, config.d_model).float().requires_grad_()
        allowed = torch.ones(rows, 1, 1, length, dtype=torch.bool, device=setting.device)
        allowed[0, ..., length // 2 :] = False
        mask = additive(allowed, setting.dtype)
        row: dict[str, Any] = {"length": length}
        outputs = []
        for name, work in (("eager", layer), ("compiled", compiled)):

            def forward(work: Any = work, states: Any = states, mask: Any = mask) -> torch.Tensor:
                with torch.autocast(setting.device.type, setting.dtype):
                    output: torch.Tensor = work(states, mask)[0]
                    return output

            both = with_gradients(forward, [states, *layer.parameters()])
            row[f"{name}_first_milliseconds"] = milliseconds(both, setting.device)
            row[f"{name}_milliseconds"] = usual_milliseconds(both, setting.device, setting.size(10, 1))
            outputs.append(forward())
        found.append(row | {"off_by": far_off(outputs[1], outputs[0])})
    return {"rows": rows, "lengths": found}


def chunks_of_logits(setting: Setting) -> dict[str, Any]:
    """The loss over the vocabulary, both passes, by the target tokens whose logits exist at one time."""
    config, rows, length = shape_of(setting), setting.size(256, 4), 32
    torch.manual_seed(0)
    projection = nn.Linear(config.d_model, config.vocab_size, bias=False).to(setting.device)
    hidden = random(setting, rows, length, config.d_model).float().requires_grad_()
    labels = torch.randint(0, config.vocab_size, (rows, length), device=setting.device)
    labels[:, :3] = IGNORED
    positions = (labels.flatten() != IGNORED).nonzero().squeeze(1)

    def loss(chunk: int) -> torch.Tensor:
        with torch.autocast(setting.device.type, setting.dtype):
            return token_loss_sum(hidden, projection, labels, positions, chunk)

    usual, found = float(loss(1024).detach()), []
    for chunk in setting.size(CHUNKS, (16, 64)):
        both = with_gradients(partial(loss, chunk), [hidden, projection.weight])
        found.append(
            {
                "chunk_tokens": chunk,
                "both_milliseconds": usual_milliseconds(both, setting.device, setting.size(10, 2)),
                "peak_bytes": peak_live_bytes(both, setting.device),
                "off_by": abs(float(loss(chunk).detach()) / usual - 1),
            }
        )
    return {"target_tokens": len(positions), "chunks": found}


class OneToken:
    """The decoder's layers for one token at a time, with keys and values that grow, or in place in a static cache."""

    def __init__(self, setting: Setting, rows: int, frames: int) -> None:
        config = shape_of(setting)
        torch.manual_seed(0)
        made = (DualWhisperDecoderLayer(config, number) for number in range(config.decoder_layers))
        self.layers = [layer.to(setting.device, setting.dtype).eval() for layer in made]
        self.states = random(setting, rows, frames, config.d_model)
        self.hidden = random(setting, rows, 1, config.d_model)
        with torch.no_grad():
            self.heard = [
                [torch.cat(both, dim=1) for both in zip(*layer.cross_keys_values([self.states] * 2), strict=True)]
                for layer in self.layers
            ]
        shape = (rows, config.decoder_attention_heads, HELD, config.d_model // config.decoder_attention_heads)
        empty = torch.zeros(shape, device=setting.device, dtype=setting.dtype)
        self.static = [[empty.clone(), empty.clone()] for _ in self.layers]
        self.position = torch.zeros(1, dtype=torch.long, device=setting.device)
        self.places = torch.arange(HELD, device=setting.device)
        self.grown: list[list[torch.Tensor] | None] = [None] * len(self.layers)
        self.output = torch.empty_like(self.hidden)

    def restart(self) -> None:
        self.position.zero_()
        self.grown = [None] * len(self.layers)

    def timed(self, step: Callable[[], None]) -> tuple[float, torch.Tensor]:
        """Milliseconds of each of :data:`TOKENS` tokens the second time, and the last one's states."""
        for _ in range(2):
            self.restart()
            taken = milliseconds(lambda: [step() for _ in range(TOKENS)], self.hidden.device)
        return taken / TOKENS, self.output.clone()

    @torch.no_grad()
    def growing(self) -> None:
        """A token whose keys and values are put behind those before it."""

        def held(number: int, new: tuple[torch.Tensor, torch.Tensor]) -> tuple[list[torch.Tensor], None]:
            before = self.grown[number]
            both = list(new) if before is None else [torch.cat(pair, dim=2) for pair in zip(before, new, strict=True)]
            self.grown[number] = both
            return both, None

        self.token(held)

    @torch.no_grad()
    def in_place(self) -> None:
        """A token whose keys and values are written into the static cache; a mask hides what is not there yet."""
        mask = additive((self.places <= self.position)[None, None, None], self.hidden.dtype)

        def held(number: int, new: tuple[torch.Tensor, torch.Tensor]) -> tuple[list[torch.Tensor], torch.Tensor]:
            for cache, one in zip(self.static[number], new, strict=True):
                cache.index_copy_(2, self.position, one)
            return self.static[number], mask

        self.token(held)
        self.position += 1

    def token(self, held: Callable[..., Any]) -> None:
        hidden = self.hidden
        for number, layer in enumerate(self.layers):
            states = layer.self_attn_layer_norm(hidden)
            (keys, values), mask = held(number, layer.self_attn.keys_values(states))
            attended, _ = attend(layer.self_attn.queries(states), keys, values, mask)
            hidden = hidden + layer.self_attn.output(attended)
            queries = [attention.queries(norm(hidden)) for attention, norm in layer.cross_attentions]
            found, _ = attend(torch.cat(queries, dim=1), *self.heard[number])
            hidden = layer.feed_forward(hidden + layer.mixed(hidden, list(found.chunk(2, dim=1)))[0])
        self.output.copy_(hidden)


def static_cache(setting: Setting) -> dict[str, Any]:
    """Milliseconds of a token through all layers, without vocabulary and choice: growing, static, static in a graph."""
    found = []
    for rows in setting.size((1, 16), (1,)):
        decoder = OneToken(setting, rows, setting.size(1500, 12))
        row: dict[str, Any] = {"rows": rows}
        row["growing_milliseconds"], exact = decoder.timed(decoder.growing)
        row["static_milliseconds"], output = decoder.timed(decoder.in_place)
        row["static_off_by"] = far_off(output, exact)
        try:
            decoder.restart()
            row["graph_milliseconds"], output = decoder.timed(graph_of(decoder.in_place, setting.device))
            row["graph_off_by"] = far_off(output, exact)
        except Skipped as skipped:
            row["graph"] = str(skipped)
        found.append(row)
    return {"tokens": TOKENS, "decoders": found}


MEASURED: dict[str, Callable[[Setting], dict[str, Any]]] = {
    "variable-length attention": variable_length,
    "q, k and v as one product": one_product,
    "static cache and CUDA graph": static_cache,
    "logits by chunk": chunks_of_logits,
    "compiled encoder layer": compiled_layer,
}
