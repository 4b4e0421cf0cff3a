"""Training data of the motion language models: corpora as motion tokens, and the examples made of them."""

from __future__ import annotations

import copy
import hashlib
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import reduce
from itertools import compress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from kinema.corpora import Corpus
from kinema.corpora.captions import mirror_text
from kinema.formats.files import atomic_write
from kinema.models import registry
from kinema.models.codec.data import drawn_share
from kinema.models.codec.pipeline import DEFAULT, TOGETHER, MotionCodec
from kinema.models.language import tasks
from kinema.models.language.backbone import fetch, read_pretrained, read_sizes
from kinema.models.language.config import CONTEXT, LanguageConfig, embedded, of_codec
from kinema.models.language.model import LanguageModel, merged, trainable
from kinema.models.language.vocabulary import Encoded, Vocabulary, read_tokenizer, train_tokenizer
from kinema.models.weights import read_weights, write_weights
from kinema.motion.editing import joined_text
from kinema.progress import track

TEXT_DROP = 0.1  # how often an instruction is left out in training, for guidance
VALIDATED = 6  # batches


@dataclass(frozen=True)
class Sizes:
    """Of the embedded backbone."""

    width: int = 320
    layers: int = 6

    def __post_init__(self) -> None:
        if not (16 <= self.width <= 8192 and self.width % 32 == 0 and 1 <= self.layers <= 100):
            raise ValueError(
                f"a width is a multiple of 32 and there are 1 to 100 layers, got {self.width}, {self.layers}"
            )


def digest(folder: Path) -> str:
    """sha256 of the content of a folder's safetensors, one after the other."""
    whole = hashlib.sha256()
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb") as file:
            while block := file.read(2**24):
                whole.update(block)
    return whole.hexdigest()


class Tokens:
    """Clips of some corpora, each also mirrored, as motion tokens with their captions.

    Attributes:
        clips: {split: [(tokens (N, places), [(first step, end step, caption), ...]), ...]}.
        takes: {split: the take of each of these clips}.
    """

    def __init__(
        self, corpora: Sequence[Corpus], codec: MotionCodec, splits: Sequence[str], share: float = 1.0
    ) -> None:
        stride = codec.config.stride
        wanted = [
            (corpus, clip, mirrored)
            for corpus in corpora
            for clip in corpus.clips
            for mirrored in (False, True)
            if clip.split in splits
            and clip.frames >= tasks.SHORTEST * stride
            and (clip.split != "train" or drawn_share(clip.take) < share)
        ]
        self.clips: dict[str, list[tuple[np.ndarray, list[tuple[int, int, str]]]]] = {split: [] for split in splits}
        self.takes: dict[str, list[str]] = {split: [] for split in splits}
        wanted.sort(key=lambda row: row[1].frames)  # those of like length are encoded together
        groups = [wanted[first : first + TOGETHER] for first in range(0, len(wanted), TOGETHER)]
        for group in track(groups, "motion to tokens", len(groups)):
            encoded = codec.encode_many([corpus.motion(clip, mirrored=mirrored) for corpus, clip, mirrored in group])
            for (_, clip, mirrored), tokens in zip(group, encoded, strict=True):
                about = []
                for caption in clip.captions:
                    text = mirror_text(caption.text) if mirrored else caption.text
                    start, end = -(-caption.start // stride), min(caption.end // stride, len(tokens))
                    if end - start >= tasks.SHORTEST:
                        about.append((start, end, text))
                if about:
                    self.clips[clip.split].append((tokens, about))
                    self.takes[clip.split].append(clip.take)
        if not self.clips.get("train"):
            raise ValueError(f"the corpora hold no clips of at least {tasks.SHORTEST * stride} frames to train on")

    def part(self, share: float) -> Tokens:
        """Those of a share of the takes of the train split, as if made with it.

        Raises:
            ValueError: it holds no clips.
        """
        found = copy.copy(self)
        kept = [drawn_share(take) < share for take in self.takes["train"]]
        if not any(kept):
            raise ValueError(f"a share of {share:g} of the takes of these corpora holds no clips to train on")
        for name in ("clips", "takes"):
            rows = getattr(self, name)
            setattr(found, name, rows | {"train": list(compress(rows["train"], kept))})
        return found

    def sample(self, rng: np.random.Generator, split: str, steps_per_second: float) -> tasks.Sample:
        """A caption by chance and a window of the steps that it is about: all of them half of the time."""
        clips = self.clips[split]
        tokens, about = clips[rng.integers(len(clips))]
        start, end, text = about[rng.integers(len(about))]
        length = end - start
        keep = length if rng.random() < 0.5 else round(length * rng.uniform(0.7, 1.0))
        keep = min(max(keep, tasks.SHORTEST), tasks.LONGEST)
        first = start + int(rng.integers(length - keep + 1))
        return tasks.Sample(text, tokens[first : first + keep], steps_per_second, {})


class LanguageTask:
    """A motion language model as the trainer sees it (training/task.py).

    Args:
        stage: "align": predict all of instruction and answer; "instruct": the answer.
        corpora: folders.
        codec: a shipped name or a folder; if not given, that of `start`, else the one that ships.
        start: folder of a model to start from, of an earlier stage; it says the backbone and the vocabulary.
        backbone: a causal language model of Hugging Face to start from, a folder or an id.
        sizes: of the embedded backbone, where neither is given.
        lora: rank of low-rank updates, trained instead of all weights; 0 trains all.
        batch: examples a step.
        share: of the takes of the train split.
        tokens: of these corpora by this codec, of the share or a larger one; made if not given.

    Raises:
        ValueError: these do not go together.
    """

    def __init__(
        self,
        stage: tasks.Stage,
        corpora: Sequence[str | Path],
        *,
        codec: str | Path | None = None,
        start: str | Path | None = None,
        backbone: str | None = None,
        sizes: Sizes | None = None,
        lora: int = 0,
        batch: int = 24,
        share: float = 1.0,
        tokens: Tokens | None = None,
    ) -> None:
        if start is not None and (backbone is not None or sizes is not None):
            raise ValueError("a model to start from has its backbone; name no other, and no sizes")
        if backbone is not None and sizes is not None:
            raise ValueError("a backbone has sizes of its own; give none")
        if not 0 <= lora <= 1024 or batch < 1 or not 0 < share <= 1:
            raise ValueError("the rank of updates must be 0 to 1024, the batch at least 1, the share above 0, to 1")
        if lora and start is None and backbone is None:
            raise ValueError(
                "low-rank updates are of weights that are there: name a backbone, or a model to start from"
            )
        self.name = f"language-{stage}"
        self.stage: tasks.Stage = stage
        self.samples, self.lora = batch, lora
        if codec is None:
            codec = DEFAULT if start is None else Path(start).absolute() / "codec"  # nothing of the hub
        self.codec_folder = registry.find(str(codec))
        self.codec = MotionCodec.load(codec)
        self.corpora = [Corpus.open(folder) for folder in corpora]
        if {corpus.fps for corpus in self.corpora} != {float(self.codec.config.fps)}:
            raise ValueError(f"the corpora must be at {self.codec.config.fps} fps, as the codec is")
        self._start = None if start is None else Path(start)
        self._backbone = None
        # what the weights are made of, beside the corpora
        made_of = [self.codec.info]
        if self._start is not None:
            model, info = read_weights(self._start, LanguageModel)
            self.config = model.config
            made_of.append(info)
            check_codec(self.config, self.codec, self.codec_folder)
            tokenizer = read_tokenizer(self._start / "tokenizer.json")
        elif backbone is not None:
            self._backbone = fetch(backbone)
            name = f"the backbone {self._backbone.name if Path(backbone).exists() else backbone}"
            made_of.append({"licence": f"that of {name}", "sources": [name]})
            self.config, tokenizer = read_sizes(self._backbone, self.codec)
        else:
            tokenizer = train_tokenizer({*tasks.words(), *_captions(self.corpora)})
            text, end = tokenizer.get_vocab_size(), 0
            config = LanguageConfig({}, self.codec.sha256, *of_codec(self.codec.config), text, end)
            self.config = replace(config, backbone=embedded(config.size, CONTEXT, **asdict(sizes or Sizes())))
        licences = sorted({corpus.licence for corpus in self.corpora}) + [info.get("licence", "") for info in made_of]
        self._licence = reduce(joined_text, filter(None, licences), licences[0])
        sources = [{corpus.source for corpus in self.corpora}, *(info.get("sources", ()) for info in made_of)]
        self._sources = sorted(set().union(*sources))
        self.vocabulary = Vocabulary(tokenizer, self.config)
        self.tasks = [(tasks.task(name), share) for name, share in tasks.SHARES[stage].items()]
        self.settings: Mapping[str, Any] = {
            "stage": stage,
            "config": asdict(self.config),
            "tokenizer": hashlib.sha256(tokenizer.to_str().encode()).hexdigest(),
            "corpora": [corpus.info["sha256"] for corpus in self.corpora],
            "start": None if self._start is None else digest(self._start),
            "backbone": None if self._backbone is None else digest(self._backbone),
            "lora": lora,
            "batch": batch,
            "share": share,
        }
        self.tokens = tokens.part(share) if tokens else Tokens(self.corpora, self.codec, ("train", "val"), share)
        # a small corpus may have no clips in this split; its report then says on what the weights were chosen
        self.validation = "val" if self.tokens.clips["val"] else "train"

    def build(self) -> nn.Module:
        if self._start is not None:
            model, _ = read_weights(self._start, LanguageModel)
        elif self._backbone is not None:
            parts = read_pretrained(self._backbone, self.config.size)
            model = LanguageModel(self.config, parts)
        else:
            model = LanguageModel(self.config)
        return trainable(model, self.lora)

    def batch(self, rng: np.random.Generator) -> dict[str, Tensor]:
        return self._batch(rng, "train", TEXT_DROP)

    def _batch(self, rng: np.random.Generator, split: str, text_drop: float) -> dict[str, Tensor]:
        """Examples of like length, so that little is padding."""
        rows: list[tuple[Encoded, np.ndarray]] = []
        while len(rows) < 4 * self.samples:
            sample = self.tokens.sample(rng, split, self.config.steps_per_second)
            found = tasks.example(self.tasks, self.vocabulary, self.stage, sample, rng, text_drop)
            if found is not None:
                rows.append(found)
        rows.sort(key=lambda row: len(row[0]))
        quarter = int(rng.integers(4))
        return collate(rows[quarter * self.samples : (quarter + 1) * self.samples])

    def validate(self, model: nn.Module) -> dict[str, float]:
        """Mean losses over fixed batches of `self.validation`, of all tokens, and of those of motion and of text."""
        model.eval()
        rng, totals = np.random.default_rng(0), {}
        for _ in range(VALIDATED):
            batch = send_to_device(self._batch(rng, self.validation, 0.0), next(model.parameters()).device)
            for name, value in model(batch).items():
                totals.setdefault(name, []).append(float(value))
        means = {name: float(np.mean(values)) for name, values in totals.items()}
        return {"score": means["loss"], **means}

    def export(self, model: nn.Module, folder: Path, report: dict[str, Any]) -> None:
        """Write the model, low-rank updates merged, with its tokenizer and its codec."""
        assert isinstance(model, LanguageModel)
        about = {"stage": self.stage, "validated_on": self.validation}
        about |= {"licence": self._licence, "sources": self._sources}
        with atomic_write(folder / "tokenizer.json") as path:
            self.vocabulary.save(path)
        for name in ("config.json", "model.safetensors"):
            with atomic_write(folder / "codec" / name) as path:
                shutil.copyfile(self.codec_folder / name, path)
        write_weights(merged(model), folder, {**report, **about})


def check_codec(config: LanguageConfig, codec: MotionCodec, folder: Path) -> None:
    """Raise ValueError if a codec is not the one that a model's tokens were made by."""
    if codec.sha256 != config.codec:
        raise ValueError(
            f"{folder} is another codec (sha256 {codec.sha256[:12]}...) than the one that made this model's tokens "
            f"({config.codec[:12]}...); name that one"
        )


def collate(rows: Sequence[tuple[Encoded, np.ndarray]]) -> dict[str, Tensor]:
    """Examples as a batch for `LanguageModel.forward`, padded at the end."""
    longest = max(len(encoded) for encoded, _ in rows)
    ids = torch.full((len(rows), longest, rows[0][0].ids.shape[1]), -1)
    ids[..., 0] = 0
    counts = torch.zeros(len(rows), longest, dtype=torch.bool)
    features: dict[str, list[tuple[int, int, np.ndarray]]] = {}
    for number, (encoded, counted) in enumerate(rows):
        ids[number, : len(encoded)] = torch.from_numpy(encoded.ids)
        counts[number, : len(encoded)] = torch.from_numpy(counted)
        for name, values in encoded.features.items():
            features.setdefault(name, []).extend((number, at, value) for at, value in values)
    batch = {"ids": ids, "counts": counts}
    for name, found in features.items():
        batch[f"at {name}"] = torch.tensor([(row, at) for row, at, _ in found])
        batch[f"values {name}"] = torch.from_numpy(np.stack([value for _, _, value in found])).float()
    return batch


def _captions(corpora: Sequence[Corpus]) -> set[str]:
    """What the training clips and their mirror images are called."""
    found = {caption.text for corpus in corpora for clip in corpus.clips if clip.split == "train"
             for caption in clip.captions}  # fmt: skip
    return found | {mirror_text(text) for text in found}
