"""kinema train: models on corpora of one's own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import arg, subcommand

if TYPE_CHECKING:
    from kinema.training import Task


@dataclass(frozen=True)
class _Run:
    corpus: Annotated[tuple[Path, ...], arg(metavar="FOLDER [FOLDER ...]")]
    """Corpora that `kinema corpus build` made."""
    out: Annotated[Path | None, arg(aliases=["-o"], metavar="FOLDER")] = None
    """Folder of the run, runs/ and the model's name if not given. The same command on the same folder goes on where it
    was interrupted."""
    minutes: Annotated[float | None, arg(metavar="FLOAT")] = None
    """Time to train; either this or the steps."""
    steps: Annotated[int | None, arg(metavar="INT")] = None
    """Steps to train."""
    seed: int = 0
    """Of the weights, the batches and the noise."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    """Muon for the matrices of repeated blocks and AdamW for the rest, or AdamW for all."""
    learning_rate: float = 1e-3
    """Highest learning rate."""
    batch: int = 96
    """Samples a step."""

    def run(self) -> None:
        if (self.minutes is None) == (self.steps is None):  # now, not after the corpora are read
            raise ValueError("give either --minutes or --steps of training")
        if not self.corpus:
            raise ValueError("name at least one --corpus to train on")
        if self.batch < 1:
            raise ValueError(f"--batch must be at least 1, got {self.batch}")
        from kinema.training import Trainer

        task = self.task()
        out = self.out or Path("runs") / task.name
        trainer = Trainer(
            task,
            out,
            minutes=self.minutes,
            steps=self.steps,
            seed=self.seed,
            optimizer=self.optimizer,
            learning_rate=self.learning_rate,
        )
        report = trainer.run()
        best = report["best"]
        print(f"{out / 'export'}: {report['steps']} steps, {report['minutes']:.1f} min, best at {best['step']}")
        print(", ".join(f"{name} {value:.4g}" for name, value in best["validation"].items()))

    def task(self) -> Task:
        raise NotImplementedError


@dataclass(frozen=True)
class TrainFracMoGen(_Run):
    """Train FracMoGen, the generator of motion from text. Its weights lie in OUT/export, which is a model by itself.

    Example: kinema train fracmogen --corpus corpora/cmu --minutes 60

    Then: kinema generate "a person walks" --model runs/fracmogen/export
    """

    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon for the matrices of repeated blocks and AdamW for the rest, or AdamW for all."""
    batch: int = 96
    """Windows a step for the part that samples; the part that refines sees a sixth of it."""

    def task(self) -> Task:
        from kinema.models.fracmogen.config import FracMoGenConfig
        from kinema.models.fracmogen.data import FracMoGenTask

        return FracMoGenTask(FracMoGenConfig(), self.corpus, batch=self.batch, refiner_batch=max(1, self.batch // 6))


@dataclass(frozen=True)
class TrainEvaluator(_Run):
    """Train the evaluator, which tells how well motion fits text and how far it is from real motion."""

    batch: int = 128
    """Pairs of motion and text a step."""

    def task(self) -> Task:
        from kinema.corpora import Corpus
        from kinema.evaluation.evaluator import EvaluatorTask

        return EvaluatorTask([Corpus.open(folder) for folder in self.corpus], batch_size=self.batch)


@dataclass(frozen=True)
class TrainCodec(_Run):
    """Train a codec, which turns motion into tokens and back. Its weights lie in OUT/export.

    Example: kinema train codec --quantiser rq --corpus corpora/cmu --minutes 20
    """

    quantiser: Literal["vq", "rq", "pq", "fsq", "lfq"] = "rq"
    """Vector, residual, product, finite scalar, or lookup-free (bits) over time and parts of the body."""
    places: int = 6
    """Tokens of a step; 1 for vq."""
    bits: int = 10
    """Of a token."""
    halvings: int = 2
    """How often the frame rate is halved; 2 makes 7.5 steps a second."""
    share: float = 1.0
    """Of the takes of the training split; smaller shares are part of larger ones."""
    batch: int = 64
    """Windows a step."""

    def task(self) -> Task:
        from kinema.models.codec.config import CodecConfig
        from kinema.models.codec.data import CodecTask

        config = CodecConfig(self.quantiser, self.places, self.bits, halvings=self.halvings)
        return CodecTask(config, self.corpus, batch=self.batch, share=self.share)


@dataclass(frozen=True)
class TrainLanguage(_Run):
    """Train a motion language model: text to motion, motion to text, continuing, filling, all in one.

    Two stages: alignment on the tokens of everything, then instruction tuning from what came out of that.

    Example: kinema train language --corpus corpora/cmu --minutes 60

    Then: kinema train language --stage instruct --start runs/language-align/export --corpus corpora/cmu --minutes 30
    """

    stage: Literal["align", "instruct"] = "align"
    """Learn all tokens of instructions and answers, or the answers alone."""
    codec: Annotated[str | None, arg(metavar="NAME")] = None
    """The codec whose tokens are learned: a shipped name, or the export of `kinema train codec`. If not given, that of
    the model to start from, else motionbook."""
    start: Annotated[Path | None, arg(metavar="FOLDER")] = None
    """A model of an earlier stage to start from: the export of its run."""
    backbone: Annotated[str | None, arg(metavar="FOLDER|ID")] = None
    """A causal language model of Hugging Face to start from; if neither is given, a small Llama of its own."""
    width: Annotated[int | None, arg(metavar="INT")] = None
    """Of the small Llama, 320 if not given."""
    layers: Annotated[int | None, arg(metavar="INT")] = None
    """Of the small Llama, 6 if not given."""
    lora: int = 0
    """Rank of low-rank updates that are trained in place of all weights, and merged at the end."""
    share: float = 1.0
    """Of the takes of the training split; smaller shares are part of larger ones."""
    optimizer: Literal["adamw", "muon"] = "muon"
    """Muon for the matrices of repeated blocks and AdamW for the rest, or AdamW for all."""
    batch: int = 24
    """Examples a step."""

    def task(self) -> Task:
        from kinema.models.language.data import LanguageTask, Sizes

        given = {name: value for name in ("width", "layers") if (value := getattr(self, name)) is not None}
        return LanguageTask(
            self.stage,
            self.corpus,
            codec=self.codec,
            start=self.start,
            backbone=self.backbone,
            sizes=Sizes(**given) if given else None,
            lora=self.lora,
            batch=self.batch,
            share=self.share,
        )


Command = (
    Annotated[TrainFracMoGen, subcommand("fracmogen")]
    | Annotated[TrainCodec, subcommand("codec")]
    | Annotated[TrainLanguage, subcommand("language")]
    | Annotated[TrainEvaluator, subcommand("evaluator")]
)
