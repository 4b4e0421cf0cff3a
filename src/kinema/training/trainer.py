"""The training loop."""

from __future__ import annotations

import copy
import json
import math
import os
import shutil
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import KW_ONLY, asdict, dataclass
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import numpy as np
import torch
from accelerate import Accelerator, DistributedDataParallelKwargs
from accelerate.utils import broadcast, send_to_device
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from torch import nn

from kinema.formats.files import atomic_write
from kinema.training.checkpoint import Checkpoints, named_tensors, read_tensors, set_tensors, write_tensors
from kinema.training.log import Log
from kinema.training.task import Task

CONSTANT = 0.75  # of the steps or of the time; the learning rate falls to zero over the rest
MUON = 2.0  # learning rate of Muon in units of that of AdamW


@dataclass
class _State:
    """The scalars of a checkpoint. `step` is the next step to take."""

    step: int = 0
    seconds: float = 0.0
    validation_seconds: float = 0.0
    finished: bool = False


@dataclass
class Trainer:
    """Trains any `Task`; the same call on the same folder resumes exactly where the newest checkpoint left off.

    Step k on process r draws its batch from `np.random.default_rng((seed, k, r))`, and torch's global generator is
    seeded from the same three numbers, so that a resumed run needs no generator state and, on one thread, has bit for
    bit the losses of a run that was never interrupted.

    The learning rate rises linearly over `warmup` steps, stays, and falls linearly to zero over the last quarter of
    the steps or of the minutes. With minutes the fall follows the clock, whatever the speed of the machine, so that
    only the steps before it are repeated exactly; the log has the rate of every step.

    Several processes (`torchrun --nproc_per_node 2 -m kinema train ...`) draw a batch each and share their gradients.

    In the folder: `run.json` (settings), `checkpoints/`, `best.safetensors` (the moving-average weights with the best
    validation score), `log.jsonl`, `loss.png`, `report.json` and, at the end, `export/` written by the task.

    Args:
        task: the model, its data and its judge.
        out: folder of the run.
        minutes: budget in wall-clock minutes over all resumed parts; either this or `steps`.
        steps: number of steps.
        seed: of the weights, the batches and the noise.
        optimizer: "adamw" (betas 0.9, 0.99) for all parameters, or "muon" (Jordan et al. 2024), which makes each update
            of a matrix orthogonal, for the weights of linear layers inside module lists, that is of the repeated
            blocks of a network, and AdamW for the others.
        learning_rate: of AdamW after warm-up; that of Muon is twice as high, with updates of the size that AdamW's
            have (Liu et al. 2025).
        weight_decay: of either.
        warmup: steps of linear warm-up.
        ema: decay of the moving average of the weights, at step k min(ema, (1 + k) / (10 + k)).
        clip: largest norm of the gradient.
        precision: "bf16" runs the model under autocast, the weights stay float32.
        validate_every: steps between validations; one more is made at the end.
        checkpoint_every: seconds between checkpoints.
        threads: of torch, per process; else OMP_NUM_THREADS, else the cores divided among the processes.
    """

    task: Task
    out: Path
    _: KW_ONLY
    minutes: float | None = None
    steps: int | None = None
    seed: int = 0
    optimizer: Literal["adamw", "muon"] = "adamw"
    learning_rate: float = 1e-3
    weight_decay: float = 0.02
    warmup: int = 100
    ema: float = 0.999
    clip: float = 1.0
    precision: Literal["bf16", "fp32"] = "bf16"
    validate_every: int = 500
    checkpoint_every: float = 60.0
    threads: int | None = None

    def __post_init__(self) -> None:
        self.out = Path(self.out)
        if (self.minutes is None) == (self.steps is None):
            raise ValueError("give either minutes or steps of training")
        budget = self.minutes if self.minutes is not None else self.steps
        if budget is None or not (math.isfinite(budget) and budget > 0):
            raise ValueError(f"the minutes or steps of training must be above 0, got {budget}")
        if not (math.isfinite(self.learning_rate) and self.learning_rate > 0):
            raise ValueError(f"the learning rate must be above 0, got {self.learning_rate}")
        if self.validate_every < 1 or self.warmup < 0 or self.seed < 0:
            raise ValueError("validate_every must be at least 1, warmup and seed at least 0")

    def run(self) -> dict[str, Any]:
        """Train to the end of the budget, export, and return the report (JSON values).

        Raises:
            ValueError: the folder holds a run with other settings, or the loss or gradient is no longer finite.
            OSError: the disk is full; the last whole checkpoint stays.
            SystemExit: SIGINT or SIGTERM came; a checkpoint was saved first (exit status 130 or 143).
        """
        accelerator = Accelerator(
            cpu=not torch.cuda.is_available(),  # without this it does not see the other processes of a CPU run
            kwargs_handlers=[DistributedDataParallelKwargs(find_unused_parameters=True)],
        )
        # tasks may leave parameters unused in a step (one pair of scales a batch), so DDP must look; that others
        # use them all is no reason to warn
        warnings.filterwarnings("ignore", message=".*find_unused_parameters=True was specified.*")
        if self.threads or "OMP_NUM_THREADS" not in os.environ:
            torch.set_num_threads(self.threads or max(1, (os.cpu_count() or 1) // accelerator.num_processes))
        return _Run(self, accelerator).run()

    def settings(self, processes: int) -> dict[str, Any]:
        """What decides the outcome of a run: JSON values, the task's own under "task"."""
        names = ("minutes", "steps", "seed", "optimizer", "learning_rate", "weight_decay", "warmup", "ema", "clip")
        own = {name: getattr(self, name) for name in (*names, "precision", "validate_every")}
        task = {"name": self.task.name, **self.task.settings}
        return json.loads(json.dumps({"task": task, **own, "processes": processes}))


def hidden_matrices(model: nn.Module) -> list[torch.Tensor]:
    """The trained weights of linear layers inside module lists."""
    lists = [module for module in model.modules() if isinstance(module, nn.ModuleList)]
    layers = [layer for blocks in lists for layer in blocks.modules() if isinstance(layer, nn.Linear)]
    weights = {id(layer.weight): layer.weight for layer in layers if layer.weight.requires_grad}  # a tied one once
    return list(weights.values())


class _Run:
    """One process of one run, from start or checkpoint to the end or the interruption."""

    def __init__(self, trainer: Trainer, accelerator: Accelerator):
        self.trainer, self.task, self.out = trainer, trainer.task, trainer.out
        self.accelerator = accelerator
        self.main = accelerator.is_main_process
        self.started = monotonic()
        self.settings = trainer.settings(accelerator.num_processes)
        self._check_settings()
        accelerator.wait_for_everyone()  # nobody writes before everybody has looked
        self.checkpoints = Checkpoints(self.out / "checkpoints")
        if self.main:
            with atomic_write(self.out / "run.json") as temporary:
                temporary.write_text(json.dumps(self.settings, indent=2) + "\n")
            self.checkpoints.remove_unfinished()

        torch.manual_seed(trainer.seed)
        self.model = self.task.build().to(accelerator.device)
        self.averaged = copy.deepcopy(self.model).eval().requires_grad_(False)
        self.parameters = {name: p for name, p in self.model.named_parameters() if p.requires_grad}
        matrices = hidden_matrices(self.model) if trainer.optimizer == "muon" else []
        others = [parameter for parameter in self.parameters.values() if not any(parameter is one for one in matrices)]
        decay = trainer.weight_decay
        self.optimizers: list[tuple[torch.optim.Optimizer, float]] = [  # and their learning rates in units of trainer's
            (torch.optim.AdamW(others, betas=(0.9, 0.99), weight_decay=decay), 1.0)
        ]
        if matrices:
            muon = torch.optim.Muon(matrices, weight_decay=decay, adjust_lr_fn="match_rms_adamw")
            self.optimizers.append((muon, MUON))
        self.state = _State()
        self._restore()
        self.first_step, self.seconds_before = self.state.step, self.state.seconds
        self.last_checkpoint = monotonic()
        self.wrapped = accelerator.prepare(self.model)
        self.best = self._read_best()
        self.signal = 0
        if self.main:
            self.log = Log(self.out, self.state.step)

    # --- the loop ---------------------------------------------------------------------------------------------------

    def run(self) -> dict[str, Any]:
        if self.state.finished:
            self._say(f"{self.task.name}: {self.out} is finished, exporting its best weights again")
        else:
            try:
                with self._progress(), self._signals():
                    self._loop()
            except OSError as error:
                raise OSError(
                    f"training {self.task.name} stopped at step {self.state.step}: {error}; {self._last_checkpoint()}; "
                    "put this right and run the same command again"
                ) from error
            finally:
                if self.main:
                    self.log.close()
        self.accelerator.wait_for_everyone()  # the first process has written the best weights
        report = self._report()
        if self.main:
            self._export(report)
        self.accelerator.wait_for_everyone()
        return report

    def _loop(self) -> None:
        while True:
            stop, rate = self._plan()
            if stop:
                break
            losses = self._step(rate)
            if self.main:
                row = {"step": self.state.step, **losses, "lr": rate, "seconds": round(self._seconds(), 3)}
                self.log.add(row)
                self._show(losses["loss"])
            self.state.step += 1
            if self.main and self.state.step % self.trainer.validate_every == 0:
                self._validate()
            if self.main and monotonic() - self.last_checkpoint >= self.trainer.checkpoint_every:
                self._save()
        if stop == 1:
            self.state.finished, self.state.seconds = True, self._seconds()
            if self.main:
                if self.state.step % self.trainer.validate_every:
                    self._validate()
                self._save()
            return
        if self.main:
            self._save()
            self._say(f"interrupted at step {self.state.step}: run the same command again to go on from there")
        raise SystemExit(128 + (self.signal or signal.SIGINT))

    def _plan(self) -> tuple[int, float]:
        """(0 go on, 1 the end, 2 interrupted) and the learning rate of the next step.

        Both may depend on the clock, so the first process decides for all.
        """
        plan = torch.zeros(2, dtype=torch.float64)
        if self.main:
            plan[0] = 2 if self.signal else self._is_over()
            plan[1] = self.trainer.learning_rate * self._factor(self.state.step)
        if self.accelerator.num_processes > 1:
            plan = broadcast(plan.to(self.accelerator.device))
        stop, rate = plan.tolist()  # type: ignore[union-attr]
        return int(stop), rate

    def _is_over(self) -> bool:
        if self.trainer.steps is not None:
            return self.state.step >= self.trainer.steps
        if not self.state.validation_seconds and self._left() <= (1 - CONSTANT) * self._budget() and self.state.step:
            self._validate()  # the last validation is part of the budget, so its cost must be known before the end
        return self._left() <= 0 and self.state.step > 0

    def _factor(self, step: int) -> float:
        """Of the full learning rate."""
        if self.trainer.steps is not None:
            left = 1 - step / self.trainer.steps
        else:
            left = max(0.0, self._left() / self._budget())
        return min((step + 1) / max(1, self.trainer.warmup), left / (1 - CONSTANT), 1.0)

    def _budget(self) -> float:
        return (self.trainer.minutes or 0) * 60

    def _seconds(self) -> float:
        """Trained so far, in all parts of the run."""
        return self.seconds_before + monotonic() - self.started

    def _left(self) -> float:
        """Seconds of the budget for further steps: the last validation is set aside."""
        return self._budget() - self._seconds() - self.state.validation_seconds

    def _step(self, rate: float) -> dict[str, float]:
        """One step of gradient descent: the losses of this process, "loss" as the mean of all processes."""
        trainer, accelerator, step = self.trainer, self.accelerator, self.state.step
        key = (trainer.seed, step, accelerator.process_index)
        batch = send_to_device(self.task.batch(np.random.default_rng(key)), accelerator.device)
        torch.manual_seed(int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0] >> 1))
        self.wrapped.train()
        autocast = torch.autocast(accelerator.device.type, torch.bfloat16, enabled=trainer.precision == "bf16")
        with autocast:
            losses = self.wrapped(batch)
        losses = {name: value.float() for name, value in losses.items()}
        mean = accelerator.reduce(losses["loss"].detach().clone(), "mean")
        self._check_finite(float(mean), "loss", losses)  # type: ignore[arg-type]
        for optimizer, _ in self.optimizers:
            optimizer.zero_grad()
        accelerator.backward(losses["loss"])
        norm = nn.utils.clip_grad_norm_(self.parameters.values(), trainer.clip)
        self._check_finite(float(norm), "gradient", losses)
        for optimizer, scale in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate * scale
            optimizer.step()
        self._average(min(trainer.ema, (1 + step) / (10 + step)))
        return {**{name: float(value.detach()) for name, value in losses.items()}, "loss": float(mean)}  # type: ignore[arg-type]

    def _check_finite(self, value: float, what: str, losses: dict[str, torch.Tensor]) -> None:
        if math.isfinite(value):
            return
        parts = ", ".join(f"{name} {float(part.detach()):g}" for name, part in losses.items())
        raise ValueError(
            f"training {self.task.name}: the {what} is {value} at step {self.state.step} ({parts}); "
            f"{self._last_checkpoint()}; look for broken values in the data, or train in another folder with a lower "
            "learning rate"
        )

    def _last_checkpoint(self) -> str:
        kept = self.checkpoints.paths()
        return f"the last checkpoint is of step {int(kept[0].stem)}" if kept else "there is no checkpoint yet"

    def _average(self, decay: float) -> None:
        with torch.no_grad():
            for average, value in zip(self.averaged.parameters(), self.model.parameters(), strict=True):
                average.lerp_(value, 1 - decay)
            for average, value in zip(self.averaged.buffers(), self.model.buffers(), strict=True):
                average.copy_(value)

    # --- validation, checkpoints ------------------------------------------------------------------------------------

    def _validate(self) -> None:
        began = monotonic()
        torch.manual_seed(self.trainer.seed)
        with torch.no_grad():
            measures = {name: float(value) for name, value in self.task.validate(self.averaged).items()}
        self.state.validation_seconds = monotonic() - began
        seconds = round(self._seconds(), 3)
        self.log.add({"step": self.state.step, "validation": measures, "seconds": seconds})
        if not math.isfinite(measures["score"]):
            raise ValueError(
                f"training {self.task.name}: the validation score is {measures['score']} at step {self.state.step}"
            )
        # a resumed run meets its own best again: it is equal then, not better
        better = measures["score"] < self.best["validation"]["score"] if self.best else True
        if better:
            self.best = {"step": self.state.step, "validation": measures, "seconds": seconds}
            write_tensors(self.out / "best.safetensors", dict(named_tensors(self.averaged)), self.best)
        text = ", ".join(f"{name} {value:.4g}" for name, value in measures.items())
        self._say(f"step {self.state.step}: {text}{' (best)' if better else ''}")

    def _save(self) -> None:
        self.state.seconds = self._seconds()
        tensors: dict[str, torch.Tensor] = {}
        tensors |= {f"model.{name}": tensor for name, tensor in named_tensors(self.model)}
        tensors |= {f"average.{name}": tensor for name, tensor in named_tensors(self.averaged)}
        for name, parameter in self.parameters.items():
            for optimizer, _ in self.optimizers:
                for key, value in optimizer.state.get(parameter, {}).items():
                    tensors[f"optimizer.{key}.{name}"] = value
        self.checkpoints.write(self.state.step, tensors, asdict(self.state))
        self.log.draw()
        self.last_checkpoint = monotonic()

    def _restore(self) -> None:
        newest = self.checkpoints.newest()
        if newest is None:
            return
        tensors, scalars = newest
        self.state = _State(**scalars)
        set_tensors(self.model, tensors, "model.")
        set_tensors(self.averaged, tensors, "average.")
        for optimizer, _ in self.optimizers:
            owned = {id(parameter) for group in optimizer.param_groups for parameter in group["params"]}
            for name, parameter in self.parameters.items():
                kept = {  # nothing for a parameter that has never had a gradient
                    key: tensors[f"optimizer.{key}.{name}"].to("cpu" if key == "step" else parameter.device)
                    for key in ("step", "exp_avg", "exp_avg_sq", "momentum_buffer")
                    if f"optimizer.{key}.{name}" in tensors
                }
                if id(parameter) in owned and kept:
                    optimizer.state[parameter] = kept
        self._say(f"{self.task.name}: going on at step {self.state.step}, {self.state.seconds / 60:.1f} min trained")

    def _read_best(self) -> dict[str, Any] | None:
        path = self.out / "best.safetensors"
        return read_tensors(path)[1] if path.exists() else None

    def _check_settings(self) -> None:
        path = self.out / "run.json"
        if not path.exists():
            # at the end of a run its folder `export` is replaced, and what is in it must not be the user's
            if self.out.is_dir() and any(not found.name.startswith(".") for found in self.out.iterdir()):
                raise ValueError(f"{self.out} is not empty and holds no run; choose another folder")
            return
        try:
            recorded = dict(json.loads(path.read_text()))
        except (ValueError, TypeError):
            raise ValueError(f"{path} is damaged; train in another folder, or remove it") from None
        differences = []
        for name in sorted({*recorded, *self.settings}):
            old, new = recorded.get(name), self.settings.get(name)
            if isinstance(old, dict) and isinstance(new, dict):
                differences += [
                    f"{part} was {old.get(part)!r} and is {new.get(part)!r}"
                    for part in sorted({*old, *new})
                    if old.get(part) != new.get(part)
                ]
            elif old != new:
                differences.append(f"{name} was {old!r} and is {new!r}")
        if differences:
            raise ValueError(
                f"{self.out} holds a run with other settings ({'; '.join(differences)}); use these, or another folder"
            )

    def _report(self) -> dict[str, Any]:
        best = self._read_best()  # by all processes, as only the first has validated
        return {
            "task": self.task.name,
            "steps": self.state.step,
            "minutes": round(self.state.seconds / 60, 2),
            "parameters": sum(parameter.numel() for parameter in self.model.parameters()),
            "best": best,
            "settings": self.settings,
            "torch": torch.__version__,
        }

    def _export(self, report: dict[str, Any]) -> None:
        set_tensors(self.averaged, read_tensors(self.out / "best.safetensors")[0])
        unfinished = self.out / ".export"
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir()
        try:
            with torch.no_grad():
                self.task.export(self.averaged, unfinished, report)
            shutil.rmtree(self.out / "export", ignore_errors=True)
            unfinished.rename(self.out / "export")
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
        with atomic_write(self.out / "report.json") as temporary:
            temporary.write_text(json.dumps(report, indent=2) + "\n")

    # --- what a person sees -----------------------------------------------------------------------------------------

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """The first Ctrl-C or SIGTERM ends the run after the step at hand, a second one at once."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        previous = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

        def note(number: int, frame: Any) -> None:
            self.signal = number
            signal.signal(number, previous[signal.Signals(number)])

        for number in previous:
            signal.signal(number, note)
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextmanager
    def _progress(self) -> Iterator[None]:
        self.bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(None),
            TextColumn(
                "step {task.fields[step]} · loss {task.fields[loss]} · {task.fields[speed]} · {task.fields[left]}"
            ),
            console=Console(stderr=True),
            disable=not self.main,
        )
        self.shown = -1.0
        total = self.trainer.steps or self._budget()
        self.row = self.bar.add_task(self.task.name, total=total, step="0", loss="-", speed="-", left="-")
        with self.bar:
            yield

    def _show(self, loss: float) -> None:
        now = monotonic()
        if now - self.shown < 0.2:
            return
        self.shown = now
        done = self.state.step + 1 - self.first_step
        speed = done / max(1e-9, now - self.started)
        trainer = self.trainer
        left = (trainer.steps - self.state.step - 1) / speed if trainer.steps else max(0.0, self._left())
        minutes, seconds = divmod(round(left), 60)
        self.bar.update(
            self.row,
            completed=self.state.step + 1 if trainer.steps else self._seconds(),
            step=f"{self.state.step + 1}",
            loss=f"{loss:.4f}",
            speed=f"{speed:.1f} steps/s",
            left=f"{minutes}:{seconds:02d} left",
        )

    def _say(self, text: str) -> None:
        """A line above the progress bar."""
        if self.main:
            console = self.bar.console if hasattr(self, "bar") else Console(stderr=True)
            console.print(text, markup=False, highlight=False, soft_wrap=True)
