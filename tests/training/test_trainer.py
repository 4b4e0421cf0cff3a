"""The trainer: exact resume after kill -9, agreement with a loop written by hand, budgets, refusals."""

from __future__ import annotations

import json
import math
import os
import resource
import runpy
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from kinema.training import Trainer
from kinema.training import trainer as trainer_module
from kinema.training.checkpoint import Checkpoints, read_tensors, write_tensors
from kinema.training.log import Log

SCRIPT = Path(__file__).with_name("tiny.py")
TinyTask = runpy.run_path(str(SCRIPT))["TinyTask"]


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if "best_weights" not in request.node.name:
        monkeypatch.setattr(Log, "draw", lambda self: None)


def lines(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]


def losses(folder: Path) -> list[float]:
    rows = [row for row in lines(folder) if "loss" in row]
    assert [row["step"] for row in rows] == list(range(len(rows)))
    return [row["loss"] for row in rows]


def script(*arguments: object, launcher: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *launcher, str(SCRIPT), *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=False)


def train(task: TinyTask, folder: Path, **options) -> dict:
    return Trainer(task, folder, **{"warmup": 10, "validate_every": 20, "threads": 1, **options}).run()


def test_killed_runs_resume_with_the_losses_of_an_uninterrupted_run(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    first = script(killed, "batch", 37)
    assert first.returncode == -9
    assert 0 < len(losses(killed)) <= 37
    second = script(killed, "checkpoint", 11)
    assert second.returncode == -9
    assert list((killed / "checkpoints").glob(".*")), "the run was to die with a checkpoint half-written"
    third = script(killed, "interrupt", 20)
    assert third.returncode == 130, third.stderr
    assert "interrupted at step" in third.stderr
    assert "same command" in third.stderr
    assert len(losses(killed)) < 80

    train(TinyTask(), killed, steps=80, checkpoint_every=0.3)
    train(TinyTask(), whole, steps=80)
    assert losses(killed) == losses(whole)
    assert len(losses(whole)) == 80
    mine, theirs = load_file(killed / "export/model.safetensors"), load_file(whole / "export/model.safetensors")
    assert all(torch.equal(mine[name], theirs[name]) for name in theirs)
    assert not list((killed / "checkpoints").glob(".*"))
    assert len(list((killed / "checkpoints").iterdir())) <= 2
    validations = [{k: row[k] for k in ("step", "validation")} for row in lines(killed) if "validation" in row]
    assert validations == [{k: row[k] for k in ("step", "validation")} for row in lines(whole) if "validation" in row]
    assert [row["step"] for row in validations] == [20, 40, 60, 80]


def by_hand(steps: int, processes: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """The loop, the optimiser and the average spelled out: the final weights and their moving average."""
    torch.manual_seed(0)
    task = TinyTask(dropout=0.0)
    model = task.build()
    names = [name for name, _ in model.named_parameters()]
    values = [p for _, p in model.named_parameters()]
    average = [p.detach().clone() for p in values]
    first, second = [torch.zeros_like(p) for p in values], [torch.zeros_like(p) for p in values]
    decay_start = steps * 3 // 4
    for step in range(steps):
        batches = [task.batch(np.random.default_rng((0, step, rank))) for rank in range(processes)]
        loss = model({key: torch.cat([batch[key] for batch in batches]) for key in batches[0]})["loss"]
        gradients = torch.autograd.grad(loss, values, allow_unused=True)
        norm = math.sqrt(sum(float(g.square().sum()) for g in gradients if g is not None))
        rate = 1e-3 * min((step + 1) / 10, 1 - max(0, step - decay_start) / (steps - decay_start))
        with torch.no_grad():
            for i, (p, g) in enumerate(zip(values, gradients, strict=True)):
                if g is not None:
                    g = g * min(1, 1 / (norm + 1e-6))
                    first[i] = 0.9 * first[i] + 0.1 * g
                    second[i] = 0.99 * second[i] + 0.01 * g * g
                    unbiased = (second[i] / (1 - 0.99 ** (step + 1))).sqrt() + 1e-8
                    p.mul_(1 - rate * 0.02).sub_(rate * first[i] / (1 - 0.9 ** (step + 1)) / unbiased)
                weight = min(0.999, (1 + step) / (10 + step))
                average[i] = weight * average[i] + (1 - weight) * p
    return torch.cat([p.detach().flatten() for p in values]), dict(zip(names, average, strict=True))


def test_one_process_agrees_with_a_loop_written_by_hand(tmp_path: Path) -> None:
    train(TinyTask(dropout=0.0), tmp_path, steps=40, precision="fp32")
    weights, average = by_hand(40, 1)
    tensors, scalars = read_tensors(tmp_path / "checkpoints/00000040.safetensors")
    for name, value in average.items():
        assert torch.allclose(tensors[f"average.{name}"], value, atol=1e-6), name
    saved = torch.cat([tensors[f"model.{name}"].flatten() for name in average])
    assert torch.allclose(saved, weights, atol=1e-6)
    assert scalars["finished"] is True
    best = load_file(tmp_path / "export/model.safetensors")
    assert torch.equal(best["layers.0.weight"], tensors["average.layers.0.weight"])


def test_two_processes_agree_with_each_other_and_with_one_on_both_batches(tmp_path: Path) -> None:
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
    done = script(tmp_path, "two", 20, launcher=launcher)
    assert done.returncode == 0, done.stderr
    ranks = [json.loads((tmp_path / f"rank{rank}.json").read_text()) for rank in (0, 1)]
    assert ranks[0] == ranks[1]
    assert np.allclose(ranks[0], by_hand(20, 2)[0].numpy(), atol=1e-5)
    assert json.loads((tmp_path / "run.json").read_text())["processes"] == 2
    assert len(losses(tmp_path)) == 20


@pytest.mark.parametrize("slow_after", [10_000, 150, 100])
def test_a_budget_in_minutes_is_kept_also_when_the_machine_slows_down(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, slow_after: int
) -> None:
    now = [0.0]
    monkeypatch.setattr(trainer_module, "monotonic", lambda: now[0])

    def pass_time(step: int) -> None:
        now[0] += 1.0 if step < slow_after else 3.0

    task = TinyTask(on_batch=pass_time)
    train(task, tmp_path, minutes=3, checkpoint_every=10)  # 180 steps of one second
    rows = [row for row in lines(tmp_path) if "loss" in row]
    assert rows[-1]["seconds"] <= 183
    assert rows[-1]["seconds"] >= 165
    rates = np.array([row["lr"] for row in rows])
    seconds = np.array([row["seconds"] for row in rows])
    assert np.allclose(rates[10:][seconds[10:] < 130], 1e-3)
    assert (np.diff(rates[10:]) <= 0).all()
    assert rates[-1] < 1e-4
    assert np.allclose(np.interp(157.5, seconds, rates), 0.5e-3, rtol=0.15)


def test_muon_moves_the_matrices_of_blocks_by_orthogonal_steps_and_the_rest_as_adamw_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    before = TinyTask().build().state_dict()
    options = {"steps": 1, "warmup": 0, "weight_decay": 0.0, "precision": "fp32", "ema": 0.0, "checkpoint_every": 0}
    train(TinyTask(dropout=0.0), tmp_path, optimizer="muon", **options)
    newest = Checkpoints(tmp_path / "checkpoints").newest()
    assert newest is not None
    step = {name: newest[0][f"model.{name}"] - value for name, value in before.items()}
    sizes = np.linalg.svd(step["blocks.0.weight"].numpy(), compute_uv=False) / (2e-3 * 0.2 * math.sqrt(8))
    np.testing.assert_allclose(sizes[:5], 1, atol=0.5)  # the slopes of these directions differ by a factor of 700
    assert (sizes < 1.5).all()
    for name in ("head.weight", "blocks.0.bias", "layers.0.weight"):  # Adam's first step: the rate, whatever the slope
        np.testing.assert_allclose(step[name].abs(), 1e-3, rtol=1e-2)


def test_a_run_with_muon_resumes_exactly(tmp_path: Path) -> None:
    def die(step: int) -> None:
        if step == 17:
            raise RuntimeError("killed")

    options = {"optimizer": "muon", "steps": 30, "checkpoint_every": 0}
    with pytest.raises(RuntimeError, match="killed"):
        train(TinyTask(on_batch=die), tmp_path / "killed", **options)
    train(TinyTask(), tmp_path / "killed", **options)
    train(TinyTask(), tmp_path / "whole", **options)
    assert losses(tmp_path / "killed") == losses(tmp_path / "whole")


def test_minutes_accumulate_over_resumed_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(trainer_module, "monotonic", lambda: now[0])

    def pass_time(step: int) -> None:
        now[0] += 1.0
        if step == 59:
            raise KeyboardInterrupt  # a second Ctrl-C, which is not waited for

    with pytest.raises(KeyboardInterrupt):
        train(TinyTask(on_batch=pass_time), tmp_path, minutes=2, checkpoint_every=10)
    now[0] += 1e6  # a night's sleep is not training
    report = train(TinyTask(on_batch=lambda _: pass_time(0)), tmp_path, minutes=2, checkpoint_every=10)
    assert 110 <= report["steps"] <= 121
    assert losses(tmp_path)[-1] > 0
    finished = train(TinyTask(on_batch=lambda _: pytest.fail("no step is left")), tmp_path, minutes=2)
    assert finished["steps"] == report["steps"]


def test_the_best_weights_on_the_validation_split_are_exported(tmp_path: Path) -> None:
    scores = iter([3.0, 1.0, 2.0, 4.0])
    seen = []

    class Judged(TinyTask):
        def validate(self, model):
            seen.append({name: value.clone() for name, value in model.state_dict().items()})
            assert not model.training
            assert not torch.is_grad_enabled()
            return {"score": next(scores), "other": 7.0}

    report = train(Judged(), tmp_path, steps=80)
    assert report["best"]["step"] == 40
    assert report["best"]["validation"] == {"score": 1.0, "other": 7.0}
    exported = load_file(tmp_path / "export/model.safetensors")
    assert all(torch.equal(exported[name], value) for name, value in seen[1].items())
    assert json.loads((tmp_path / "export/config.json").read_text())["best"]["step"] == 40
    assert (tmp_path / "loss.png").read_bytes().startswith(b"\x89PNG")


def test_a_loss_that_is_not_finite_stops_the_run_and_keeps_the_checkpoint(tmp_path: Path) -> None:
    class Broken(TinyTask):
        def batch(self, rng):
            made = super().batch(rng)
            if self.step == 31:
                made["x"][3, 1] = float("nan")
            return made

    with pytest.raises(ValueError, match=r"tiny: the loss is nan at step 30 .*last checkpoint is of step 30"):
        train(Broken(), tmp_path, steps=80, checkpoint_every=0.0)
    tensors, _ = read_tensors(tmp_path / "checkpoints/00000030.safetensors")
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_a_run_with_other_settings_is_not_resumed(tmp_path: Path) -> None:
    train(TinyTask(), tmp_path, steps=3)
    before = (tmp_path / "log.jsonl").read_bytes()
    with pytest.raises(ValueError, match=r"learning_rate was 0\.001 and is 0\.01"):
        train(TinyTask(), tmp_path, steps=3, learning_rate=0.01)
    with pytest.raises(ValueError, match=r"dropout was 0\.2 and is 0\.5"):
        train(TinyTask(dropout=0.5), tmp_path, steps=3)
    assert (tmp_path / "log.jsonl").read_bytes() == before


def test_a_damaged_newest_checkpoint_gives_way_to_the_one_before(tmp_path: Path) -> None:
    checkpoints = Checkpoints(tmp_path)
    for step in (1, 2, 3):
        checkpoints.write(step, {"x": torch.full((50,), float(step))}, {"step": step})
    newest, older = checkpoints.paths()
    assert [newest.stem, older.stem] == ["00000003", "00000002"]
    newest.write_bytes(newest.read_bytes()[:-20])
    found = checkpoints.newest()
    assert found is not None
    assert found[1] == {"step": 2}
    older.write_bytes(b"\x80\x04not safetensors")
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoints.newest()


@contextmanager
def full_disk_possible() -> Iterator[Callable[[], None]]:
    """Gives a function that fills the disk: from its call to the end of the block no file can grow beyond 50 kB.

    No fixture: pytest writes its own output, maybe to a file, before those are taken down.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    try:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, hard))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk_leaves_the_old_file_and_no_half_one(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    write_tensors(path, {"x": torch.ones(10)}, {"step": 1})
    with full_disk_possible() as fill:
        fill()
        with pytest.raises(OSError, match=r"cannot write .*weights\.safetensors"):
            write_tensors(path, {"x": torch.ones(100_000)}, {"step": 2})
    assert read_tensors(path)[1] == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_a_line_that_the_disk_takes_only_in_part_is_an_error(tmp_path: Path) -> None:
    log = Log(tmp_path, 0)
    log.add({"step": 0, "loss": 1.0, "note": "x" * 49_900})
    with full_disk_possible() as fill:
        fill()
        with pytest.raises(OSError, match="too large"):
            log.add({"step": 1, "loss": 1.0, "note": "x" * 1000})
    log.close()
    assert len(Log(tmp_path, 2).losses) == 1


def test_a_run_on_a_full_disk_stops_with_one_clear_error_and_can_go_on(tmp_path: Path) -> None:
    said = r"training tiny stopped at step \d+: .*; the last checkpoint is of step \d+;"
    with full_disk_possible() as fill:
        task = TinyTask(on_batch=lambda step: fill() if step == 300 else None)
        with pytest.raises(OSError, match=said):
            train(task, tmp_path, steps=1000, checkpoint_every=0.05, validate_every=100)
    step = int(Checkpoints(tmp_path / "checkpoints").paths()[0].stem)
    report = train(TinyTask(), tmp_path, steps=1000, validate_every=100)
    assert step > 0
    assert report["steps"] == len(losses(tmp_path)) == 1000


@pytest.mark.parametrize("budget", [{}, {"minutes": 1, "steps": 1}, {"steps": 0}, {"minutes": float("nan")}])
def test_a_run_needs_one_budget(tmp_path: Path, budget: dict) -> None:
    with pytest.raises(ValueError, match="minutes or steps"):
        Trainer(TinyTask(), tmp_path, **budget)


@pytest.mark.parametrize("rate", [0, -1e-3, float("nan"), float("inf")])
def test_a_learning_rate_is_above_zero(tmp_path: Path, rate: float) -> None:
    with pytest.raises(ValueError, match="learning rate must be above 0"):
        Trainer(TinyTask(), tmp_path, steps=1, learning_rate=rate)


def test_a_folder_of_something_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "export").mkdir()
    (tmp_path / "export" / "mine.txt").write_text("precious")
    with pytest.raises(ValueError, match="is not empty and holds no run"):
        train(TinyTask(), tmp_path, steps=3)
    assert [path.name for path in tmp_path.rglob("*")] == ["export", "mine.txt"]


def test_a_damaged_description_of_a_run_is_told(tmp_path: Path) -> None:
    for content in ("{", "[1]", '"x"'):
        (tmp_path / "run.json").write_text(content)
        with pytest.raises(ValueError, match=r"run\.json is damaged"):
            train(TinyTask(), tmp_path, steps=3)


def test_an_export_that_fails_leaves_the_old_one(tmp_path: Path) -> None:
    train(TinyTask(), tmp_path, steps=3)
    before = (tmp_path / "export" / "model.safetensors").read_bytes()

    class Failing(TinyTask):
        def export(self, model, folder, report):
            (folder / "half").write_text("x")
            raise OSError("no space left on device")

    with pytest.raises(OSError, match="no space"):
        train(Failing(), tmp_path, steps=3)
    assert (tmp_path / "export" / "model.safetensors").read_bytes() == before
    assert not (tmp_path / ".export").exists()
