from __future__ import annotations

import io
import os

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from kinema.corpora import Corpus
from kinema.corpora.build import build
from kinema.corpora.statistics import picture, statistics, table
from kinema.formats.bvh import write_bvh


def test_numbers_are_those_of_the_clips(built) -> None:
    corpus = Corpus.open(built.folder)
    numbers = statistics(corpus)
    assert numbers.clips == built.report.splits
    assert sum(numbers.hours.values()) * 3600 == pytest.approx(sum(len(corpus.motion(i)) for i in range(12)) / 30)
    assert numbers.takes["compositional"] == 2
    assert sum(numbers.takes.values()) == len({clip.take for clip in corpus.clips})
    assert (numbers.captions, len(numbers.sentences)) == (14, 14)
    assert numbers.words["walks"] == 8
    assert numbers.labels == {"walk": 9, "Strut": 1, "twin": 1, "fast": 1}
    assert numbers.rejected["unreadable"] == 4
    fast = next(clip for clip in corpus.clips if clip.name == "fast_12")
    assert numbers.seconds[fast.index] == pytest.approx(1.5)
    assert numbers.speeds[fast.index] == pytest.approx(2.4, rel=0.02)  # the walk goes 1.2 m/s, here at double speed


def test_the_table_shows_them(built) -> None:
    output = io.StringIO()
    Console(file=output, width=120).print(table(Corpus.open(built.folder)))
    shown = output.getvalue()
    for part in ("12 clips", "compositional", "14 distinct sentences", "unreadable 4", "CC0", "constructed"):
        assert part in shown


def test_the_picture_is_drawn_or_refused(built, tmp_path) -> None:
    corpus = Corpus.open(built.folder)
    picture(corpus, tmp_path / "new" / "corpus.png")
    pixels = np.asarray(Image.open(tmp_path / "new" / "corpus.png").convert("L"))
    assert pixels.shape[0] > 500
    assert 0.01 < (pixels < 200).mean() < 0.5
    with pytest.raises(ValueError, match=r"corpus\.doc"):
        picture(corpus, tmp_path / "corpus.doc")
    assert os.listdir(tmp_path) == ["new"]


def test_a_corpus_of_one_perfect_clip_has_a_table_and_a_picture(tmp_path, walk) -> None:
    (tmp_path / "in").mkdir()
    write_bvh(walk, tmp_path / "in" / "[bold]walk.bvh")
    (tmp_path / "in" / "captions.jsonl").write_text('{"motion": "[bold]walk.bvh", "text": "42 [/red]"}')
    build([tmp_path / "in"], tmp_path / "[red]out", licence="[b]mine[/c]", source="[/]")
    corpus = Corpus.open(tmp_path / "[red]out")
    output = io.StringIO()
    Console(file=output, width=200).print(table(corpus))
    assert "[b]mine[/c]" in output.getvalue()
    assert "0 motions" in output.getvalue()
    picture(corpus, tmp_path / "corpus.png")
    assert (tmp_path / "corpus.png").stat().st_size > 10_000
