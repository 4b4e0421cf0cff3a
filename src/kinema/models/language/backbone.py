"""Where a language model comes from: built from its sizes, or any causal language model of Hugging Face, extended.

Either way it is taken apart into its body (ids -> last hidden states) and its head (hidden states -> logits).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from tokenizers import Tokenizer
from torch import nn

from kinema.models.codec.pipeline import MotionCodec
from kinema.models.language.config import CONTEXT, LanguageConfig, described, of_codec
from kinema.models.language.vocabulary import check_tokenizer, read_tokenizer

LORA_DROPOUT = 0.05
LEAST_CONTEXT = 128  # a motion of full length and a short question, so that there is always something to learn from
# what transformers raises, beside what it documents, where a configuration is not as it should be
_UNUSABLE = (AttributeError, ImportError, LookupError, StrictDataclassError, TypeError)


def build(sizes: dict[str, Any]) -> tuple[nn.Module, nn.Linear | None]:
    """Body and head, with random weights, of the sizes that `described` gives; no head if the embedding serves as one.

    Raises:
        ValueError: transformers builds no causal language model of these sizes.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        config = _without_code(AutoConfig.for_model(**sizes))
        return parts(AutoModelForCausalLM.from_config(config, trust_remote_code=False))
    except (*_UNUSABLE, ArithmeticError, AssertionError) as error:
        raise ValueError(f"these are not the sizes of a causal language model ({_reason(error)})") from None


def parts(model: Any) -> tuple[nn.Module, nn.Linear | None]:
    """Body and head of a causal language model of transformers.

    Raises:
        ValueError: its logits are more than its head of its last hidden states.
    """
    body, head = model.base_model, model.get_output_embeddings()
    ids = torch.arange(3)[None]
    with torch.no_grad():
        model.eval()
        apart = isinstance(head, nn.Linear) and torch.allclose(
            head(body(ids).last_hidden_state), model(ids).logits, rtol=1e-3, atol=1e-3
        )
    if not apart:
        raise ValueError(f"a {model.config.model_type} does more than a linear head; such backbones are not supported")
    return body, None if head.weight is model.get_input_embeddings().weight else head


def _reason(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _without_code(config: Any) -> Any:
    """A configuration of transformers that no longer names code to be fetched and run for the attention."""
    config._attn_implementation = None
    return config


def fetch(name: str) -> Path:
    """The folder of a backbone: a folder, or a Hugging Face repository id.

    Raises:
        ValueError: there is no such thing.
    """
    if (Path(name) / "config.json").is_file():
        return Path(name)
    if Path(name).exists():
        raise ValueError(f"{name} is no backbone: it is no folder with a config.json")
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(name, allow_patterns=["*.safetensors", "*.safetensors.index.json", "*.json"]))
    except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise ValueError(f"no backbone {name!r}: it is no folder with a config.json, nor given ({reason})") from None


def read_sizes(folder: Path, codec: MotionCodec) -> tuple[LanguageConfig, Tokenizer]:
    """The configuration of a pretrained backbone with motion in its vocabulary, and its tokenizer.

    Motion begins above both its tokenizer's ids and the rows of its embedding, which are often more.

    Raises:
        ValueError: a file is missing or damaged, the tokenizer holds our words, no id ends a text, or the context is
            too short for motion.
    """
    from transformers import AutoConfig

    tokenizer = read_tokenizer(folder / "tokenizer.json")
    check_tokenizer(tokenizer)
    try:
        sizes = _without_code(AutoConfig.from_pretrained(folder, trust_remote_code=False))
    except (OSError, ValueError, *_UNUSABLE) as error:
        raise ValueError(f"{folder} is no model of transformers ({_reason(error)})") from None
    if not isinstance(getattr(sizes, "vocab_size", None), int):
        raise ValueError(f"{folder} is a {sizes.model_type}, not a language model of text alone")
    end = sizes.eos_token_id
    end = end[0] if isinstance(end, list) else end
    if not isinstance(end, int) or tokenizer.id_to_token(end) is None:
        raise ValueError(f"{folder / 'config.json'}: its eos_token_id is not in its tokenizer, so no answer could end")
    rows = int(sizes.vocab_size)
    text = max(rows, 1 + max(tokenizer.get_vocab().values()))
    context = min(CONTEXT, int(getattr(sizes, "max_position_embeddings", None) or CONTEXT))
    if context < LEAST_CONTEXT:
        raise ValueError(f"{folder} reads {context} tokens at once; motion takes a backbone that reads {LEAST_CONTEXT}")
    config = LanguageConfig({}, codec.sha256, *of_codec(codec.config), text, end, context)
    sizes.vocab_size = config.size
    return replace(config, backbone=described(sizes)), tokenizer


def read_pretrained(folder: Path, size: int) -> tuple[nn.Module, nn.Linear | None]:
    """Body and head of a pretrained backbone, in float32, with rows for `size` ids; new ones are drawn around the mean.

    Raises:
        ValueError: the weights are missing, damaged, or no safetensors.
    """
    from transformers import AutoConfig, AutoModelForCausalLM

    try:
        sizes = _without_code(AutoConfig.from_pretrained(folder, trust_remote_code=False))
        model = AutoModelForCausalLM.from_pretrained(
            folder, config=sizes, dtype=torch.float32, use_safetensors=True, trust_remote_code=False
        )
        model.resize_token_embeddings(size)
    except (OSError, ValueError, RuntimeError, *_UNUSABLE) as error:
        raise ValueError(f"{folder} holds no weights to start from ({_reason(error)})") from None
    return parts(model)


def with_lora(body: nn.Module, rank: int) -> nn.Module:
    """A body of which only low-rank updates of its linear layers (Hu et al. 2021) and its embedding are trained."""
    from peft import LoraConfig, get_peft_model

    config = LoraConfig(r=rank, lora_alpha=2 * rank, lora_dropout=LORA_DROPOUT, target_modules="all-linear")
    adapted = get_peft_model(body, config)  # type: ignore[arg-type]
    adapted.get_input_embeddings().weight.requires_grad_(True)
    return adapted


def merged(body: nn.Module) -> nn.Module:
    """A copy of a body with its low-rank updates added to its weights; the body itself where it has none."""
    from peft import PeftModel

    return copy.deepcopy(body).merge_and_unload() if isinstance(body, PeftModel) else body  # type: ignore[operator]
