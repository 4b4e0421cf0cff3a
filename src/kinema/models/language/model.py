"""A motion language model: a decoder-only language model whose vocabulary holds motion tokens.

As in Being-M0 (Wang et al. 2025) and ScaMo: motion ids and `<mot>`, `</mot>` follow the ids of the text, all are
predicted alike, and tasks are instructions. What differs:

- A step of motion is one place of the sequence, not as many as it has tokens: its ids are embedded together, and once
  the body has told the first, a small network tells each of the others from those before it, as in RQ-Transformers
  (Lee et al. 2022). With six tokens a step that makes motion six times shorter to read.
- In training some of the steps that are read are random ones, as in T2M-GPT (Zhang et al. 2023): a model that has only
  seen real motion does not know how to go on from its own.
- `<feature>` stands for continuous features (sensors, images) that one linear layer each brings to the width of the
  network, as in EgoLM.
- The default backbone is a small Llama trained from scratch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.models.language import backbone
from kinema.models.language.config import LanguageConfig
from kinema.models.weights import Network

CORRUPTED = 0.15  # share of the steps that are random ones to a model in training


class Depth(nn.Module):
    """What is known of a step, and its newest id -> what is known of the step."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.known, self.newest = nn.RMSNorm(width), nn.RMSNorm(width)
        # in a list, so that Muon takes them as it takes those of the body
        self.layers = nn.ModuleList([nn.Linear(2 * width, width), nn.Linear(width, width, bias=False)])
        self.out = nn.RMSNorm(width)

    def forward(self, known: Tensor, newest: Tensor) -> Tensor:
        """(M, W), (M, W) -> (M, W)."""
        enter, leave = self.layers
        return known + leave(F.silu(enter(torch.cat([self.known(known), self.newest(newest)], -1))))


class LanguageModel(Network):
    """Ids -> logits.

    Args:
        config: the sizes.
        parts: body and head of a backbone; by default built with random weights.
    """

    name = "being-m0"
    Config = LanguageConfig
    config: LanguageConfig

    def __init__(self, config: LanguageConfig, parts: tuple[nn.Module, nn.Linear | None] | None = None) -> None:
        super().__init__(config)
        self.body, self.head = parts or backbone.build(config.backbone)
        rows, width = self.embedding.weight.shape
        if rows != config.size:
            raise ValueError(f"the backbone has {rows} ids and the vocabulary {config.size}")
        self.depth = nn.ModuleList(Depth(width) for _ in range(config.places - 1))
        self.projections = nn.ModuleDict({name: nn.Linear(size, width) for name, size in config.features.items()})

    @property
    def embedding(self) -> nn.Embedding:
        return self.body.get_input_embeddings()  # type: ignore[operator]

    def corrupted(self, ids: Tensor) -> Tensor:
        """ids (B, L, places) with random ones in place of those of some steps of motion."""
        config = self.config
        chosen = (torch.rand(ids.shape[:2], device=ids.device) < CORRUPTED) & (ids[..., -1] >= config.first)
        codes = torch.randint(2**config.bits, ids.shape, device=ids.device)
        firsts = torch.tensor([config.span(place)[0] for place in range(config.places)], device=ids.device)
        return torch.where(chosen[..., None], firsts + codes, ids)

    def embed(self, ids: Tensor, features: dict[str, tuple[Tensor, Tensor]] | None = None) -> Tensor:
        """What the body reads (B, L, W) of ids (B, L, places), -1 where a place of the sequence has one id only.

        `features` gives per name where they stand (M, 2), rows and columns, and their values (M, numbers).
        """
        x = self.embedding(ids[..., 0])
        steps = ids[..., -1] >= self.config.first
        if self.depth and bool(steps.any()):
            others = torch.zeros_like(x)
            others[steps] = self.embedding(ids[..., 1:][steps]).sum(1)
            x = x + others
        for name, (at, values) in (features or {}).items():
            x = x.index_put((at[:, 0], at[:, 1]), self.projections[name](values).to(x.dtype))
        return x

    def logits(self, hidden: Tensor, first: int = 0, last: int | None = None) -> Tensor:
        """Hidden states (..., W) -> logits of the ids from `first` to `last` (exclusive)."""
        weight = self.embedding.weight if self.head is None else self.head.weight
        bias = None if self.head is None or self.head.bias is None else self.head.bias[first:last]
        return F.linear(hidden, weight[first:last], bias)

    def deeper(self, known: Tensor, ids: Tensor, place: int) -> tuple[Tensor, Tensor]:
        """What is known of steps (M, W) and their ids (M,) of the place before `place` -> what is known then (M, W),
        and the logits (M, 2^bits) of `place`. What is known at first is the last hidden state of the body."""
        depth = self.depth[place - 1]
        assert isinstance(depth, Depth)
        known = depth(known, self.embedding(ids))
        return known, self.logits(depth.out(known), *self.config.span(place))

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """Losses of a batch: "ids" (B, L, places), "counts" (B, L) which of them are to be predicted, the rest of a row
        being question or padding at its end, and "at NAME", "values NAME" of features."""
        ids, counts, config = batch["ids"], batch["counts"], self.config
        features = {name: (batch[f"at {name}"], batch[f"values {name}"]) for name in config.features if
                    f"at {name}" in batch}  # fmt: skip
        # padding comes last, and nobody looks ahead, so it needs no mask
        x = self.embed(self.corrupted(ids) if self.training else ids, features)
        hidden: Tensor = self.body(inputs_embeds=x, use_cache=False).last_hidden_state
        hidden, wanted = hidden[:, :-1][counts[:, 1:]], ids[:, 1:][counts[:, 1:]]  # (M, W), (M, places)
        first = F.cross_entropy(self.logits(hidden, 0, config.span(0)[1]).float(), wanted[:, 0], reduction="none")
        steps = wanted[:, 0] >= config.first
        text, motion = first[~steps], [first[steps]]
        known, wanted = hidden[steps], wanted[steps]
        for place in range(1, config.places):
            known, logits = self.deeper(known, wanted[:, place - 1], place)
            motion.append(F.cross_entropy(logits.float(), wanted[:, place] - config.span(place)[0], reduction="none"))
        of_motion = torch.stack(motion)  # (places, steps)
        total = of_motion.sum() + text.sum()
        return {
            "loss": total / (of_motion.numel() + text.numel()),
            "motion": of_motion.sum().detach() / max(1, of_motion.numel()),
            "text": text.sum().detach() / max(1, text.numel()),
        }


def trainable(model: LanguageModel, lora: int) -> LanguageModel:
    """The model itself, or, with a rank above 0, such that low-rank updates of the body learn in place of its weights,
    beside the embedding, the head and all that is ours."""
    if lora:
        model.body = backbone.with_lora(model.body, lora)
    return model


def merged(model: LanguageModel) -> LanguageModel:
    """The model without low-rank updates of its own: they are part of the weights."""
    whole = backbone.merged(model.body)
    if whole is model.body:
        return model
    found: Any = LanguageModel(model.config, (whole, model.head))
    found.depth, found.projections = model.depth, model.projections
    return found
