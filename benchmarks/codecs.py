"""Five quantisers at equal bits per second, with all data and with less: the table of docs/systems/motionbook.md.

    python benchmarks/codecs.py train --corpus corpora/cmu corpora/bandai -o runs/codecs
    python benchmarks/codecs.py table --corpus corpora/cmu corpora/bandai -o runs/codecs

`train` trains each codec on all takes of the train split, on a quarter and on a sixteenth of them, for as many steps,
and goes on where it was stopped. `table` encodes and decodes the clips of the test split and prints Markdown. VQ has
one token a step, so it gets its bits by one token of 15 bits for each frame; the others have 7.5 steps of six tokens of
10 bits a second.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

import shutil
from collections.abc import Sequence
from pathlib import Path
from time import process_time
from typing import Annotated

import numpy as np
import torch
import tyro

from kinema.corpora import Corpus
from kinema.evaluation import metrics, physics, pose
from kinema.evaluation.evaluator import Evaluator, judged_items
from kinema.features import pose151, pose154
from kinema.models import registry
from kinema.models.codec.config import CodecConfig
from kinema.models.codec.data import CodecTask, usage
from kinema.models.codec.pipeline import MotionCodec
from kinema.motion import Motion
from kinema.progress import track
from kinema.training import Trainer

CODECS = {
    "vq": CodecConfig("vq", places=1, bits=15, halvings=0),
    "rq": CodecConfig("rq"),
    "pq": CodecConfig("pq"),
    "fsq": CodecConfig("fsq"),
    "2d-lfq": CodecConfig("lfq"),
}
SHARES = {"1": 1.0, "1/4": 0.25, "1/16": 0.0625}  # of the takes
LEARNING_RATE = 2e-3
Folders = Annotated[tuple[Path, ...], tyro.conf.arg(metavar="FOLDER")]
Out = Annotated[Path, tyro.conf.arg(aliases=["-o"])]


def train(
    corpus: Folders,
    out: Out,
    only: tuple[str, ...] = tuple(CODECS),
    shares: tuple[str, ...] = tuple(SHARES),
    steps: int = 1000,
    batch: int = 32,
    seed: int = 0,
) -> None:
    """Train what is not trained yet.

    Args:
        corpus: folders of corpora.
        out: folder of the runs.
        only: quantisers.
        shares: of the takes, "1", "1/4" or "1/16".
        steps: of each.
        batch: windows a step.
        seed: of weights and batches.
    """
    if unknown := sorted({*only} - {*CODECS}) + sorted({*shares} - {*SHARES}):
        raise ValueError(f"nothing is called {unknown[0]!r}; there are {', '.join((*CODECS, *SHARES))}")
    for share in shares:
        for name in only:
            folder = _folder(out, name, share)
            if (folder / "export" / "model.safetensors").exists():
                continue
            print(f"{name}, {share} of the takes")
            task = CodecTask(CODECS[name], corpus, share=SHARES[share], batch=batch)
            # compared after the same number of steps, so none is chosen by a validation on the way
            Trainer(
                task,
                folder,
                steps=steps,
                seed=seed,
                learning_rate=LEARNING_RATE,
                validate_every=steps,
                checkpoint_every=120,
                threads=1,
            ).run()
            shutil.rmtree(folder / "checkpoints", ignore_errors=True)


def _folder(out: Path, name: str, share: str) -> Path:
    return out / name / share.replace("/", "-")


def table(corpus: Folders, out: Out, split: str = "test") -> None:
    """Judge what is trained, and print the tables.

    Args:
        corpus: folders of corpora.
        out: folder of the runs, or of one codec's export.
        split: which clips.
    """
    torch.set_num_threads(1)
    bench = Bench([Corpus.open(folder) for folder in corpus], split)
    if (out / "model.safetensors").exists():
        rows = {("this codec", "1"): bench.judge_codec(MotionCodec.load(out))}
    else:
        runs = [(name, share) for share in SHARES for name in CODECS if _trained(out, name, share)]
        if not runs:
            raise ValueError(f"{out} holds no codec; train some first")
        rows = {
            (name, share): bench.judge_codec(MotionCodec.load(_folder(out, name, share) / "export"))
            for name, share in track(runs, "judging", len(runs))
        }
    print(markdown(rows, bench), end="")


def _trained(out: Path, name: str, share: str) -> bool:
    return (_folder(out, name, share) / "export" / "model.safetensors").exists()


class Bench:
    """The clips that codecs are judged on."""

    def __init__(self, corpora: Sequence[Corpus], split: str) -> None:
        self.judge = Evaluator.load(registry.weights_folder() / "evaluator")
        items = judged_items(corpora, split)
        self.corpus = np.array([corpora[item.corpus].folder.name for item in items])
        self.names = sorted(set(self.corpus))
        clips = [corpora[item.corpus].motion(item.clip, item.caption.start, item.caption.end) for item in items]
        stride = max(config.stride for config in CODECS.values())
        # all codecs are judged on the same frames: whole steps of the longest
        self.real = [_cut(clip, len(clip) // stride * stride) for clip in clips]
        self.truth = self.judge.motions(self.real)

    def judge_codec(self, codec: MotionCodec) -> dict[str, float]:
        start = process_time()
        ids = codec.encode_many(self.real)
        encoding, decoding, made = process_time() - start, 0.0, []
        for real, tokens in zip(self.real, ids, strict=True):
            features = pose151.encode(real)
            x, z = features.path[0]
            place = pose154.Place(x, z, features.heading[0])
            start = process_time()
            made.append(codec.decode(tokens, place))
            decoding += process_time() - start
        seconds = sum(real.seconds for real in self.real)
        used = usage(torch.from_numpy(np.concatenate(ids)), codec.config.bits)
        found = {
            "bits": codec.config.bits_per_second,
            "fid": metrics.fid(self.truth, self.judge.motions(made)),
            "used": float(np.mean(used["used"])),
            "perplexity": float(np.exp(np.mean(np.log(used["perplexity"])))),
            "entropy": sum(used["entropy"]) * codec.config.fps / codec.config.stride,
            "parameters": sum(values.numel() for values in codec.model.parameters()) / 1e6,
            "encode": seconds / encoding,
            "decode": seconds / decoding,
        }
        for name in self.names:
            mine = np.flatnonzero(self.corpus == name)
            pairs = [(made[k].joint_positions(), self.real[k].joint_positions()) for k in mine]
            found[f"mpjpe {name}"] = float(np.mean([pose.mpjpe(*pair) for pair in pairs]))
            found[f"pa {name}"] = float(np.mean([pose.pa_mpjpe(*pair) for pair in pairs]))
            found[f"world {name}"] = float(np.mean([pose.global_mpjpe(*pair) for pair in pairs]))
            quality = physics.quality([made[k] for k in mine], [self.real[k] for k in mine])
            found[f"jerk {name}"] = quality["jerk_ratio"]
        return found


def _cut(motion: Motion, frames: int) -> Motion:
    return motion.replace(root_position=motion.root_position[:frames], rotations=motion.rotations[:frames])


def markdown(rows: dict[tuple[str, str], dict[str, float]], bench: Bench) -> str:
    """Of {(name, share): what `Bench.judge_codec` found}."""
    columns = {"fid": ("FID", "{:.2f}")}
    for name in bench.names:
        columns |= {
            f"mpjpe {name}": (f"{name}: MPJPE, mm", "{:.1f}"),
            f"pa {name}": (f"{name}: PA-MPJPE", "{:.1f}"),
            f"world {name}": (f"{name}: in the world", "{:.0f}"),
            f"jerk {name}": (f"{name}: jerk / real", "{:.2f}"),
        }
    columns |= {
        "bits": ("bits/s", "{:.0f}"),
        "entropy": ("entropy, bits/s", "{:.0f}"),
        "used": ("codes used", "{:.0%}"),
        "perplexity": ("perplexity", "{:.0f}"),
        "parameters": ("parameters, M", "{:.2f}"),
        "encode": ("encoding many, s / s", "{:.0f}"),
        "decode": ("decoding one, s / s", "{:.0f}"),
    }
    counts = ", ".join(f"{int((bench.corpus == name).sum())} of {name}" for name in bench.names)
    lines = [f"{len(bench.real)} clips: {counts}.", ""]
    lines += ["| | takes | " + " | ".join(title for title, _ in columns.values()) + " |"]
    lines += ["| --- | --- | " + " | ".join("---:" for _ in columns) + " |"]
    for (name, share), row in rows.items():
        cells = [form.format(row[key]) for key, (_, form) in columns.items()]
        lines.append(f"| {name} | {share} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    tyro.extras.subcommand_cli_from_dict({"train": train, "table": table})
