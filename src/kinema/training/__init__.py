"""One trainer for every model: wall-clock budget, exact resume, moving average of the weights, progress, logs."""

from kinema.training.task import Task
from kinema.training.trainer import Trainer

__all__ = ["Task", "Trainer"]
