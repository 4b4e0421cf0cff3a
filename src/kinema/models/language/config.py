"""The sizes of a motion language model, and which ids mean what."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from kinema.models.codec.config import CodecConfig

CONTEXT = 256  # words, or steps of motion
SPECIALS = ("<mot>", "</mot>", "<feature>")
_UNUSED = {"transformers_version", "_name_or_path", "architectures", "id2label", "label2id", "dtype"}


@dataclass(frozen=True)
class LanguageConfig:
    """Ids are, in this order: `text` ids of the tokenizer, SPECIALS, 2^bits codes of the first place of a step, of the
    second, ...

    Args:
        backbone: the sizes of the language model as transformers writes them, with its "model_type".
        codec: sha256 of the model.safetensors of the codec that made the tokens.
        places, bits, stride, fps: of that codec: tokens of a step, bits of a token, frames of a step, frames a second.
        text: how many ids the text has.
        end: the text id that ends an answer.
        context: length of the longest sequence; a step of motion is one of its places, whatever tokens it has.
        features: {name: numbers} of the continuous features that a `<feature>` may stand for.
    """

    backbone: dict[str, Any]
    codec: str
    places: int
    bits: int
    stride: int
    fps: int
    text: int
    end: int
    context: int = CONTEXT
    features: dict[str, int] = field(default_factory=dict)

    @property
    def begin(self) -> int:
        """The id of `<mot>`."""
        return self.text

    @property
    def stop(self) -> int:
        """The id of `</mot>`."""
        return self.text + 1

    @property
    def feature(self) -> int:
        """The id of `<feature>`."""
        return self.text + 2

    @property
    def first(self) -> int:
        """The id of code 0 of place 0."""
        return self.text + len(SPECIALS)

    def span(self, place: int) -> tuple[int, int]:
        """The ids (first, last exclusive) of the codes of a place."""
        first = self.first + place * 2**self.bits
        return first, first + 2**self.bits

    @property
    def size(self) -> int:
        """How many ids there are."""
        return self.first + self.places * 2**self.bits

    @property
    def steps_per_second(self) -> float:
        return self.fps / self.stride


def of_codec(codec: CodecConfig) -> tuple[int, int, int, int]:
    """What a LanguageConfig says of its codec: places, bits, stride, fps."""
    return codec.places, codec.bits, codec.stride, codec.fps


def embedded(size: int, context: int = CONTEXT, width: int = 320, layers: int = 6) -> dict[str, Any]:
    """The backbone that needs no download: a Llama of `size` ids whose heads are 64 wide, head and embedding shared."""
    from transformers import LlamaConfig

    config = LlamaConfig(
        vocab_size=size,
        hidden_size=width,
        intermediate_size=32 * round(2.6 * width / 32),
        num_hidden_layers=layers,
        num_attention_heads=max(1, width // 64),
        max_position_embeddings=context,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=None,
    )
    return described(config)


def described(config: Any) -> dict[str, Any]:
    """A configuration of transformers as JSON values, without what does not change the network."""
    return {name: value for name, value in config.to_dict().items() if value is not None and name not in _UNUSED}
