"""Words and motion as ids: a text tokenizer below, motion tokens above it.

A place of a sequence holds one id of text, or a whole step of motion: an id for each place of the step.

The tokenizer never sees our own words: text that a user types, "<mot>" for instance, is only ever text.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from kinema.models.language.config import SPECIALS, LanguageConfig

END = "<end>"
TEXT_SIZE = 2048  # ids of the text of the embedded backbone
MAX_TOKENIZER_BYTES = 200_000_000


@dataclass(frozen=True, eq=False)
class Feature:
    """Continuous features: `values` (N, numbers) of those called `name`, each read in place of a `<feature>`."""

    name: str
    values: np.ndarray


Piece = str | np.ndarray | Feature  # text, motion tokens (N, places), or features


@dataclass
class Encoded:
    """A sequence of ids.

    Attributes:
        ids: (L, places); what is no step of motion has one id and then -1.
        features: per name (where in `ids`, values) of each `<feature>`.
    """

    ids: np.ndarray
    features: dict[str, list[tuple[int, np.ndarray]]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.ids)

    def __add__(self, other: Encoded) -> Encoded:
        features = {name: list(rows) for name, rows in self.features.items()}
        for name, rows in other.features.items():
            features.setdefault(name, []).extend((len(self) + at, values) for at, values in rows)
        return Encoded(np.concatenate([self.ids, other.ids]), features)


class Vocabulary:
    """Pieces of text, motion and features -> ids, and ids -> text and motion.

    Args:
        tokenizer: of the text.
        config: says which ids are which.

    Raises:
        ValueError: the tokenizer holds words or ids that are ours.
    """

    def __init__(self, tokenizer: Tokenizer, config: LanguageConfig) -> None:
        check_tokenizer(tokenizer)
        if (highest := max(tokenizer.get_vocab().values(), default=-1)) >= config.text:
            raise ValueError(
                f"the tokenizer has an id {highest}, and motion begins at {config.text}: it is not the tokenizer that "
                "this model was trained with"
            )
        if tokenizer.id_to_token(config.end) is None:
            raise ValueError(f"the tokenizer has no id {config.end}, which is to end an answer; it is another's")
        self._tokenizer = tokenizer
        self._tokenizer.encode_special_tokens = True  # what a user types is text, whatever it looks like
        self._tokenizer.no_padding()  # a text is read piece by piece, each as long as it is
        self._tokenizer.no_truncation()
        self.config = config
        self._start = tokenizer.encode("").ids  # of tokenizers that mark the beginning
        self._separator = self.text("\n")

    def text(self, text: str) -> list[int]:
        """The ids of a text."""
        return self._tokenizer.encode(text, add_special_tokens=False).ids

    def plain(self, ids: Sequence[int]) -> Encoded:
        """Ids that are no steps of motion."""
        rows = np.full((len(ids), self.config.places), -1)
        rows[:, 0] = ids
        return Encoded(rows)

    def motion(self, tokens: np.ndarray) -> Encoded:
        """Motion tokens (N, places), `<mot>` and `</mot>` around them."""
        config = self.config
        whole = tokens.ndim == 2 and tokens.shape[1] == config.places
        if not whole or (tokens < 0).any() or (tokens >= 2**config.bits).any():
            raise ValueError(f"motion tokens are rows of {config.places} numbers below {2**config.bits}")
        steps = config.first + np.arange(config.places) * 2**config.bits + tokens
        return self.plain([config.begin]) + Encoded(steps) + self.plain([config.stop])

    def encode(self, pieces: Sequence[Piece]) -> Encoded:
        """Pieces one after the other.

        Raises:
            ValueError: features are of a name or size that the model does not know.
        """
        whole = self.plain([])
        for piece in pieces:
            if isinstance(piece, str):
                whole += self.plain(self.text(piece))
            elif isinstance(piece, np.ndarray):
                whole += self.motion(piece)
            else:
                numbers = self.config.features.get(piece.name)
                if numbers is None:
                    known = ", ".join(self.config.features) or "none"
                    raise ValueError(f"this model reads no features {piece.name!r}; it reads {known}")
                if piece.values.ndim != 2 or piece.values.shape[1] != numbers:
                    raise ValueError(f"features {piece.name!r} are rows of {numbers}, got {piece.values.shape}")
                ids = self.plain([self.config.feature] * len(piece.values)).ids
                whole += Encoded(ids, {piece.name: list(enumerate(piece.values))})
        return whole

    def question(self, instruction: Sequence[Piece]) -> Encoded:
        """An instruction as a model reads it before it answers."""
        return self.plain(self._start) + self.encode(instruction) + self.plain(self._separator)

    def check_room(self, question: Encoded, answer: int) -> None:
        """Raise ValueError if the context does not hold a question and an answer of some length."""
        if len(question) + answer > self.config.context:
            raise ValueError(
                f"the prompt has {len(question)} tokens, and this model reads {self.config.context} together with the "
                "answer; shorten it"
            )

    def answer(self, pieces: Sequence[Piece]) -> Encoded:
        """An answer as a model is to give it."""
        return self.encode(pieces) + self.plain([self.config.end])

    def decode(self, ids: np.ndarray) -> list[str | np.ndarray]:
        """Ids (L, places) of an answer as pieces: texts and motion tokens (N, places).

        Raises:
            ValueError: motion ids stand where none may stand.
        """
        config, pieces, text = self.config, [], []
        steps: list[np.ndarray] | None = None
        for row in [*ids, np.array([config.begin])]:
            token = int(row[0])
            if token >= config.first:
                if steps is None:
                    raise ValueError("the answer has a token of motion outside a motion")
                steps.append(self.codes(row))
                continue
            if steps:
                pieces.append(np.stack(steps))
            if token == config.begin:
                if words := self._tokenizer.decode(text).strip():
                    pieces.append(words)
                steps, text = [], []
            else:
                steps = None
                if token < config.text and token != config.end:
                    text.append(token)
        return pieces

    def codes(self, ids: np.ndarray) -> np.ndarray:
        """The tokens of the codec (..., places) of ids of motion (..., places)."""
        config = self.config
        return ids - config.first - np.arange(config.places) * 2**config.bits

    def save(self, path: Path) -> None:
        """Write the tokenizer as JSON."""
        path.write_text(self._tokenizer.to_str(), encoding="utf-8")


def check_tokenizer(tokenizer: Tokenizer) -> None:
    """Raise ValueError if a tokenizer already holds one of our words."""
    held = [word for word in SPECIALS if tokenizer.token_to_id(word) is not None]
    if held:
        raise ValueError(
            f"the tokenizer already holds {', '.join(held)}: its model was extended before; name the original one"
        )


def read_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tokenizer.json.

    Raises:
        ValueError: the file is missing or damaged.
    """
    try:
        if path.stat().st_size > MAX_TOKENIZER_BYTES:
            raise ValueError(f"it is larger than {MAX_TOKENIZER_BYTES} bytes")
        return Tokenizer.from_str(path.read_text(encoding="utf-8"))
    except Exception as error:  # tokenizers raises nothing narrower
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{path} is no tokenizer ({reason})") from None


def train_tokenizer(sentences: Iterable[str], size: int = TEXT_SIZE) -> Tokenizer:
    """A byte-level BPE tokenizer of small letters for some sentences, which can write any other text too."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFC(), normalizers.Lowercase()])  # type: ignore[assignment]
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)  # type: ignore[assignment]
    tokenizer.decoder = decoders.ByteLevel()  # type: ignore[assignment]
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=size, special_tokens=[END], initial_alphabet=alphabet, show_progress=False)
    tokenizer.train_from_iterator(sorted(sentences), trainer)
    return tokenizer
