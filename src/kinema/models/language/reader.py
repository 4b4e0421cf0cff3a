"""Reading one token after the other with what was read kept: a Llama by a function of our own, others by transformers.

A reader takes what the body reads, (B, L, W), L of it at a time, and gives the last hidden states (B, L, W). Rows of a
batch that are shorter than others are padded on their left; `skipped` (B,) says by how much. A row that has ended is
read on, with nobody listening, as long as others have not; it may then be beyond the context.
"""

from __future__ import annotations

from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kinema.models.language.model import LanguageModel


class Reader(Protocol):
    """What has been read so far, of a batch."""

    def read(self, x: Tensor) -> Tensor:
        """The next L tokens (B, L, W) -> their hidden states (B, L, W)."""
        ...


class TransformersReader:
    """Any body, by its own cache."""

    def __init__(self, body: nn.Module, skipped: Tensor) -> None:
        from transformers import DynamicCache

        self._body, self._skipped = body, skipped
        most: int | None = getattr(body.config, "max_position_embeddings", None)
        self._last = most - 1 if most else None
        self._cache: Any = DynamicCache()
        self._at = 0

    def read(self, x: Tensor) -> Tensor:
        places = torch.arange(self._at + x.shape[1], device=x.device)
        seen = (places >= self._skipped[:, None]).long()  # (B, past + L)
        numbers = (places[self._at :] - self._skipped[:, None]).clamp(0, self._last)
        self._at += x.shape[1]
        return self._body(
            inputs_embeds=x, attention_mask=seen, position_ids=numbers, past_key_values=self._cache, use_cache=True
        ).last_hidden_state


class Llama:
    """The weights of a Llama's body, joined where that saves a call: made once, read by many.

    Raises:
        ValueError: it has what this does not do.
    """

    def __init__(self, body: Any) -> None:
        config = body.config
        rope = config.rope_parameters
        if rope["rope_type"] != "default" or config.attention_bias or config.mlp_bias or config.hidden_act != "silu":
            raise ValueError("not a plain Llama")
        self.heads, self.groups, self.size = config.num_attention_heads, config.num_key_value_heads, config.head_dim
        self.eps = config.rms_norm_eps
        self.layers = []
        for layer in body.layers:
            attention, mlp = layer.self_attn, layer.mlp
            self.layers.append(
                (
                    layer.input_layernorm.weight.data,
                    torch.cat([part.weight.data for part in (attention.q_proj, attention.k_proj, attention.v_proj)]),
                    attention.o_proj.weight.data,
                    layer.post_attention_layernorm.weight.data,
                    torch.cat([mlp.gate_proj.weight.data, mlp.up_proj.weight.data]),
                    mlp.down_proj.weight.data,
                )
            )
        self.norm = body.norm.weight.data
        turns = torch.arange(config.max_position_embeddings)[:, None] / rope["rope_theta"] ** (
            torch.arange(0, self.size, 2) / self.size
        )
        turns = turns.to(self.norm.device)
        self.cosine = turns.cos().repeat(1, 2)  # (context, size)
        self.sine = torch.cat([-turns.sin(), turns.sin()], 1)


class LlamaReader:
    """RMSNorm, rotary attention over a cache of fixed size, SwiGLU: the body of a Llama, for a few tokens at a time."""

    def __init__(self, llama: Llama, skipped: Tensor, longest: int) -> None:
        self._llama, self._skipped = llama, skipped
        self._padded = bool(skipped.any())
        self._at = 0
        shape = (len(llama.layers), 2, len(skipped), llama.groups, longest, llama.size)
        self._cache = llama.norm.new_zeros(shape)

    def read(self, x: Tensor) -> Tensor:
        llama, (batch, count, width) = self._llama, x.shape
        begin, end = self._at, self._at + count
        self._at = end
        places = torch.arange(begin, end, device=x.device)
        numbers = (places - self._skipped[:, None]).clamp(0, len(llama.cosine) - 1)  # (B, L)
        cosine, sine = llama.cosine[numbers][:, None], llama.sine[numbers][:, None]  # (B, 1, L, size)
        mask = None
        if count > 1 or self._padded:
            before = torch.arange(end, device=x.device)
            own = before == places[:, None]  # padding, too, sees something, or its values are no numbers
            sees = (before <= places[:, None]) & (before >= self._skipped[:, None, None]) | own
            mask = sees[:, None]  # (B, 1, L, end)
        queries = llama.heads * llama.size
        for cache, (norm_in, qkv, out, norm_mid, gate_up, down) in zip(self._cache, llama.layers, strict=True):
            h = F.linear(F.rms_norm(x, (width,), norm_in, llama.eps), qkv)
            h = h.view(batch, count, -1, llama.size).transpose(1, 2)  # (B, heads + 2 groups, L, size)
            rotated, v = h[:, : -llama.groups], h[:, -llama.groups :]
            rotated = rotated * cosine + rotated.roll(llama.size // 2, -1) * sine
            q, cache[0, :, :, begin:end], cache[1, :, :, begin:end] = (
                rotated[:, : llama.heads],
                rotated[:, llama.heads :],
                v,
            )
            k, v = cache[0, :, :, :end], cache[1, :, :, :end]
            seen = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, enable_gqa=llama.groups < llama.heads)
            x = x + F.linear(seen.transpose(1, 2).reshape(batch, count, queries), out)
            gate, up = F.linear(F.rms_norm(x, (width,), norm_mid, llama.eps), gate_up).chunk(2, -1)
            x = x + F.linear(F.silu(gate) * up, down)
        return F.rms_norm(x, (width,), llama.norm, llama.eps)


class Readers:
    """Makes readers for a model, by the fastest way that its body allows."""

    def __init__(self, model: LanguageModel) -> None:
        self._body = model.body
        self._llama: Llama | None = None
        if model.config.backbone.get("model_type") == "llama":
            try:
                self._llama = Llama(model.body)
            except ValueError:
                self._llama = None

    def start(self, skipped: Tensor, longest: int) -> Reader:
        """A reader of rows padded by `skipped` (B,), of at most `longest` tokens."""
        if self._llama is not None:
            return LlamaReader(self._llama, skipped, longest)
        return TransformersReader(self._body, skipped)
