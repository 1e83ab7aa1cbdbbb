"""Watches what second attentions learn: whether they stay copies, where they look, and what their gates say.

A copy under a gate of one half gets the same gradients as its original, and so stays a copy. Only figures show it.
A copy that reads a second recording gets others, and is of use as it is. Of models that hear second recordings it is
therefore watched whether utterances have any.
"""

from typing import Any

import torch

from modeling.decoding import hears_second
from modeling.frozen import rounding_of

from ..engine.accelerator import bare_model, sum_over_ranks
from ..record.journal import Journal
from .batch import Batch

COPY = 0.002  # a second attention whose relative distance to the first is no larger is still a copy
STEPS_TO_DIFFER = 100  # no warning comes before this step
UTTERANCES_TO_HEAR = 100  # nor, of second recordings, before so many utterances
FIGURES = 5  # sums for each layer: targets, gates, squared gates; noisy targets, shares on noise
LOSSES = 6  # sums: the noise loss, its noisy targets, its part in the whole loss; the teacher's, its frames, its part


class AttentionWatch:
    """Sums figures on the device, and waits for it only when they are read. The model is prepared by the engine.

    Attributes:
        sums, losses, heard: what is held since the last time, for a step that is taken again. ``heard`` counts
            utterances, and those of them with a second recording.
    """

    def __init__(self, accelerator: Any, model: Any) -> None:
        self.accelerator = accelerator
        self.layers = bare_model(model).model.decoder.layers if bare_model(model).config.dual_attention else ()
        self.hears_second = hears_second(bare_model(model))
        self.has_warned = self.has_missed_noise = self.has_heard_noise = False
        self.sums: torch.Tensor | None = None
        self.losses: torch.Tensor | None = None
        self.heard = (0, 0)
        self.ever_heard = (0, 0)  # until the last time, of all ranks

    @torch.no_grad()
    def add_losses(self, output: Any, batch: Batch, noise_weight: float, clean: dict[str, Any]) -> None:
        """Add what a microbatch's loss consists of beside the token loss.

        Args:
            noise_weight: what the noise loss was multiplied by.
            clean: the arguments of :meth:`trainer.step.teacher.CleanTeacher.arguments`; empty without a teacher.
        """
        parts = []
        if noise_weight and output.noise_loss is not None and batch.noise_positions is not None:
            loss = output.noise_loss.float()
            # A tensor made from a number would wait for a GPU.
            parts += [loss, loss.new_full((), len(batch.noise_positions)), noise_weight * loss]
        if clean:
            loss = output.clean_loss.float()
            parts = parts or [loss.new_zeros(())] * 3
            parts += [loss, clean["clean_states"].lengths.sum(), clean["clean_weight"] * loss]
        if parts:
            parts += [parts[0].new_zeros(())] * (LOSSES - len(parts))
            losses = torch.stack([part.float() for part in parts])
            self.losses = losses if self.losses is None else self.losses + losses

    @torch.no_grad()
    def add(self, output: Any, batch: Batch) -> None:
        """Add the model's output for a microbatch."""
        if self.hears_second and len(batch.features):  # of a kept encoder output nothing is known
            utterances, seconds = self.heard
            self.heard = (utterances + len(batch.ids), seconds + len(batch.second_rows))
        if output.gates is None or batch.target_positions is None:
            return
        gates = at(output.gates, batch.target_positions)
        figures = gates.new_zeros(FIGURES, len(gates))
        figures[0] = gates.shape[1]
        figures[1], figures[2] = gates.sum(1), gates.square().sum(1)
        if output.noise_shares is not None and batch.noise_positions is not None:
            shares = at(tuple(share.mean(1) for share in output.noise_shares), batch.noise_positions)
            figures[3], figures[4] = shares.shape[1], shares.sum(1)
        self.sums = figures if self.sums is None else self.sums + figures

    def read(self) -> dict[str, list[float]]:
        """Figures of each layer over all ranks since the last time; then start anew. All ranks must call it.

        Returns:
            ``gate_mean`` and ``gate_spread`` (standard deviation over tokens) of α, the primary attention's share;
            ``noise_share``, the share of the secondary attention that falls on noise, if there was any; ``distance``
            between the two attentions' weights, relative to the primary's. Empty without second attentions.
        """
        if not self.layers:
            return {}
        sums, self.sums = self.summed(self.sums, FIGURES, len(self.layers)), None
        targets, gates, squares, noisy, shares = sums.cpu().double()
        mean = gates / targets.clamp(min=1)
        figures = {
            "gate_mean": mean.tolist(),
            "gate_spread": (squares / targets.clamp(min=1) - mean.square()).clamp(min=0).sqrt().tolist(),
        }
        if float(noisy.sum()):
            figures["noise_share"] = (shares / noisy.clamp(min=1)).tolist()
        distances = self.distances()
        return figures | ({"distance": distances} if distances else {})

    def read_heard(self) -> dict[str, float]:
        """``with_second``: the share of utterances with a second recording since the last time; all ranks must call it.

        Empty where nothing is known of them.
        """
        held, self.heard = torch.tensor(self.heard, device=self.accelerator.device), (0, 0)
        utterances, seconds = sum_over_ranks(self.accelerator, held).tolist()
        self.ever_heard = (self.ever_heard[0] + utterances, self.ever_heard[1] + seconds)
        return {"with_second": seconds / utterances} if utterances else {}

    def read_losses(self, loss: float, divisor: int) -> dict[str, float]:
        """The noise loss of a noisy target, the teacher's of a noisy frame and the token loss since the last time.

        All ranks must call it.

        Args:
            loss: mean of the steps since then, the others included.
            divisor: the steps since then, times what the engine divides a microbatch's loss by.

        Returns:
            ``token_loss``, and ``noise_loss`` and ``teacher_loss`` where there were any; empty if nothing was noisy.
        """
        losses, self.losses = self.summed(self.losses, LOSSES), None
        of_noise, targets, noise_part, of_teacher, frames, teacher_part = losses.tolist()
        if not targets and not frames:
            return {}
        self.has_heard_noise = True
        found = {"token_loss": loss - (noise_part + teacher_part) / divisor}
        found |= {"noise_loss": of_noise / targets} if targets else {}
        return found | ({"teacher_loss": of_teacher / frames} if frames else {})

    def summed(self, held: torch.Tensor | None, *shape: int) -> torch.Tensor:
        """Over all ranks; None counts as zeros."""
        held = torch.zeros(shape, device=self.accelerator.device) if held is None else held
        return sum_over_ranks(self.accelerator, held)

    @torch.no_grad()
    def distances(self) -> list[float]:
        """‖secondary - primary‖ / ‖primary‖ of each layer, over the four projections; empty if they are quantised."""
        squares = torch.zeros(2, len(self.layers), device=self.accelerator.device)
        spread = False
        for number, layer in enumerate(self.layers):
            for part in ("q_proj", "k_proj", "v_proj", "out_proj"):
                primary, secondary = weight_of(layer.encoder_attn, part), weight_of(layer.secondary_attn, part)
                first, second = (getattr(weight, "ds_tensor", weight).float() for weight in (primary, secondary))
                if first.shape != second.shape or not primary.is_floating_point():
                    return []
                spread = spread or hasattr(primary, "ds_tensor")  # ZeRO-3: each rank has the same piece of both
                # Rounding a frozen weight has nothing to do with what is trained, so its square adds to theirs.
                lost = rounding_of(layer_of(layer.encoder_attn, part))
                squares[0, number] += (second - first).square().sum() - lost
                squares[1, number] += first.square().sum()
        if spread:
            squares = sum_over_ranks(self.accelerator, squares)
        return (squares[0].clamp(min=0) / squares[1].clamp(min=1e-30)).sqrt().tolist()

    def report(self, journal: Journal, step: int, expects_noise: bool = False) -> None:
        """Write the figures, and warn if they show copies. All ranks must call it.

        If the config ``expects_noise`` for its loss, warn also if there was none.
        """
        figures = self.read()
        journal.write(step, "attention", figures)
        if self.hears_second:
            journal.write(step, "recordings", self.read_heard())
        if told := self.warning(step, figures):
            journal.say(told)
        if expects_noise and step >= STEPS_TO_DIFFER and not (self.has_heard_noise or self.has_missed_noise):
            self.has_missed_noise = True
            journal.say(
                f"warning: in {step} steps no utterance had noise laid over it, so the losses on noise did nothing: "
                "look at data.augmentation, and whether the speech is silent or has no other utterances to lay over it"
            )

    def warning(self, step: int, figures: dict[str, list[float]]) -> str | None:
        """A line, once, if every second attention is still a copy of the first and reads what the first reads.

        Or, of a model that hears second recordings, if no utterance had one.
        """
        utterances, seconds = self.ever_heard
        if self.hears_second:
            if self.has_warned or step < STEPS_TO_DIFFER or seconds or utterances < UTTERANCES_TO_HEAR:
                return None
            self.has_warned = True
            reads = "second attentions read the first one" if self.layers else "the attention reads the first one alone"
            return (
                f"warning: none of {utterances:,} utterances had a second recording, so {reads}: look at "
                "data.train.columns.second_audio, data.train.second and data.augmentation.second_missing_share"
            )
        distance = max(figures.get("distance", [1.0]))
        if self.has_warned or step < STEPS_TO_DIFFER or distance > COPY:
            return None
        self.has_warned = True
        return (
            f"warning: after {step} steps the second attentions are still copies of the first: they differ by "
            f"{distance:.2%} of their size at most, so they cost time and do nothing of their own. Raise "
            "optimizer.new_modules_learning_rate, set optimizer.primary_frozen_steps, or give noise.loss_weight"
        )


def at(by_layer: tuple[torch.Tensor, ...], positions: torch.Tensor) -> torch.Tensor:
    """Values of each layer [B, L] at positions of the flattened [B, L]: float32 [layers, N]."""
    return torch.stack(by_layer).flatten(1).index_select(1, positions).float()


def layer_of(attention: Any, part: str) -> Any:
    """A projection itself, also if LoRA wraps it."""
    projection = getattr(attention, part)
    return getattr(projection, "base_layer", projection)


def weight_of(attention: Any, part: str) -> torch.Tensor:
    weight: torch.Tensor = layer_of(attention, part).weight
    return weight
