"""Recipes: all settings of a run, typed and checked, to and from YAML."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import yaml

from ._internal.messages import check_between
from ._internal.reading import parse_yaml, printable
from .attacks import PGD, CustomAttack
from .config import build, to_config
from .data.settings import Data
from .methods import RSLAD, Method
from .optimizers import SGD, Optimizer

__all__ = ["SGD", "Data", "Recipe", "Schedule"]

@dataclass(frozen=True)
class Schedule:
    """Learning-rate schedule; lengths below 1 are fractions of the run, other lengths are epochs.

    >>> Schedule("multistep", milestones=(100, 150))  # a tenth of the rate from epoch 100 on, a hundredth from 150
    Schedule(kind='multistep', milestones=(100, 150), gamma=0.1, warmup=0.0, hold=0.0, by='step')
    """

    kind: Literal["constant", "multistep", "cosine", "onecycle"] = "multistep"
    milestones: tuple[float, ...] = (0.5, 0.75)
    """multistep: after each of these the rate is multiplied by gamma."""
    gamma: float = 0.1
    warmup: float = 0.0
    """The rate rises linearly until here."""
    hold: float = 0.0
    """cosine, onecycle: the rate stays at its maximum until here."""
    by: Literal["step", "epoch"] = "step"
    """cosine, onecycle: the rate falls at every step, or is constant in each epoch, at its value at the epoch's end."""


@dataclass(frozen=True)
class Recipe:
    """All settings of a run, saved as `recipe.yaml` in the run's folder.

    >>> recipe = Recipe(RSLAD(), student="convnet-2", data=Data("digits"), epochs=2)
    >>> Recipe.from_yaml(recipe.to_yaml()) == recipe
    True
    """

    method: Method = field(default_factory=RSLAD)
    """Coefficients of the method; choose another method with --method NAME."""
    student: str = "convnet-16"
    """A name of `advdistill list models`, or your own network: python:my_module:MyNet, called without arguments."""
    student_init: str | None = None
    """Initial weights of the student, named like a teacher; if the numbers of classes differ, it gets a new head."""
    teacher: str | None = None
    """The robust teacher: a run folder, file:PATH, robustbench:NAME, hf:OWNER/NAME; see `advdistill list teachers`."""
    clean_teacher: str | None = None
    """The teacher for clean accuracy, for methods that use one."""
    teachers: Mapping[str, str] = field(default_factory=dict)
    """Teachers for the method's other roles, by role."""
    data: Data = field(default_factory=Data)
    attack: PGD | CustomAttack = field(default_factory=PGD)
    """The training attack; start and student mode default to the method's."""
    optimizer: Optimizer = field(default_factory=SGD)
    """Choose another class with --optimizer NAME."""
    clip_gradient: float | None = None
    """Maximum norm of the student's gradient; larger gradients are scaled down to it."""
    accumulate: int = 1
    """Divide each batch into this many parts, attacked and differentiated one after another, to save memory."""
    schedule: Schedule = field(default_factory=Schedule)
    epochs: int = 50
    batch_size: int = 128
    """Images per step, over all processes together."""
    ema: float | None = None
    """Decay per step of an exponential average of the weights; the average is evaluated and saved instead of them."""
    swa: float | None = None
    """Average the weights at the ends of epochs from this epoch or fraction on; the average is evaluated and saved."""
    awp: float | None = None
    """Adversarial weight perturbation of this size, relative to each layer's norm; 0.005 and 0.01 are usual."""
    awp_begin: float = 0.0
    """Epoch or fraction from which weights are perturbed; TRADES-AWP's release begins with its tenth epoch, 9."""
    ema_warmup: float | None = None
    """Until this epoch or fraction the average of `ema` equals the student; then its decay grows. 0.025 in releases."""
    label_smoothing: float = 0.0
    """Share of the labels' mass that is spread over all classes, in the losses that use labels."""
    eps_warmup: float = 0.0
    """Eps and step size of the attack grow linearly until this epoch or fraction."""
    attack_steps_schedule: tuple[int, ...] = ()
    """Numbers of attack steps in equal parts of the run, such as 2 3 4 5; if there are fewer, each step is longer."""
    label_mixing: float = 0.0
    """Share of the label in the outputs of frozen teachers."""
    teacher_every: int | None = None
    """For AdaAD, AdaIAD, DGAD: in the attack, run the teacher only at every k-th step, linear in between."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Precision of training; auto is bf16 if the device has it natively. Evaluation is always fp32."""
    compile: bool = False
    """Compile the networks that the attack runs; on a GPU the whole attack is one CUDA graph."""
    passes: Literal["ours", "adversarial", "released"] = "ours"
    """Passes that update batch-norm's running statistics: at x' and x, at x' only, or those of the released code."""
    statistics: Literal["training", "adversarial", "clean", "mixed"] = "training"
    """Batch-norm statistics of the validated and saved network: as trained, or re-estimated on images of this kind."""
    statistics_images: int = 2048
    """Number of augmented training images for re-estimating `statistics`."""
    select_by: Literal["robust", "mean", "clean"] = "robust"
    """Validation accuracy that selects the best checkpoint: under PGD-10, clean, or their mean."""
    validate_every: int = 1
    on_divergence: Literal["stop", "rollback"] = "stop"
    """If a loss is no longer finite: stop, or go back to the end of the last epoch with half the learning rate."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every", "teacher_every", "accumulate", "statistics_images"):
            check_between(name, getattr(self, name), 1, 10**9)
        check_between("clip_gradient", self.clip_gradient, 1e-9, 1e9)
        if self.accumulate > self.batch_size // 2:
            raise ValueError(f"accumulate={self.accumulate} leaves fewer than two of {self.batch_size} images a part.")
        if self.accumulate > 1 and self.awp is not None:
            raise ValueError("awp needs the gradient of the whole batch; leave out accumulate, or awp.")
        self._name_teachers()
        if isinstance(self.attack, CustomAttack):
            self.attack.check_named()
        check_between("ema", self.ema, 0, 1)
        check_between("awp", self.awp, 0, 1)
        check_between("awp_begin", self.awp_begin, 0, max(1, self.epochs - 1))
        check_between("swa", self.swa, 0, max(1, self.epochs - 1))
        if self.ema is not None and self.swa is not None:
            raise ValueError(f"ema ({self.ema}) and swa ({self.swa}) are two averages of the same weights; choose one.")
        check_between("seed", self.seed, 0, 2**32 - 1)
        if self.ema_warmup is not None and self.ema is None:
            raise ValueError(f"ema_warmup ({self.ema_warmup:g}) needs ema; set ema too, e.g. 0.995.")
        check_between("ema_warmup", self.ema_warmup, 0, max(1, self.epochs - 1))
        check_between("eps_warmup", self.eps_warmup, 0, self.epochs)  # the whole run in ACAT
        for name in ("label_smoothing", "label_mixing"):
            check_between(name, getattr(self, name), 0, 0.999)
        for steps in self.attack_steps_schedule:
            check_between("attack_steps_schedule", steps, 1, 10**4)
        stop = getattr(self.attack, "stop_after", None)
        if stop is not None and self.attack_steps_schedule and min(self.attack_steps_schedule) <= stop:
            raise ValueError(f"attack.stop_after={stop} must be below every number of attack_steps_schedule, whose "
                             f"smallest is {min(self.attack_steps_schedule)}. Leave out one of the two.")  # fmt: skip
        if isinstance(self.attack, CustomAttack) and (self.eps_warmup or self.attack_steps_schedule):
            raise ValueError("eps_warmup and attack_steps_schedule change a PGD; leave them out with a CustomAttack.")
        if isinstance(self.attack, CustomAttack) and self.data.augmentation.mixes:
            raise ValueError("data.mixup and data.cutmix give an image two labels, and a CustomAttack takes one. Leave "
                             "them out.")  # fmt: skip

    def _name_teachers(self) -> None:
        """Move the robust and the clean teacher from `teachers` to their own fields, so that a recipe has one form."""
        others = {role: reference for role, reference in self.teachers.items() if reference}
        for role, name in (("robust", "teacher"), ("clean", "clean_teacher")):
            reference = others.pop(role, None)
            if reference is not None and getattr(self, name) not in (None, reference):
                raise ValueError(f"{name} ({getattr(self, name)}) and teachers.{role} ({reference}) differ; give one.")
            object.__setattr__(self, name, reference or getattr(self, name))
        object.__setattr__(self, "teachers", others)

    @property
    def references(self) -> dict[str, str]:
        """The references of all teachers by role."""
        own = {"robust": self.teacher, "clean": self.clean_teacher}
        return {role: reference for role, reference in own.items() if reference is not None} | dict(self.teachers)

    def replace(self, **changes: Any) -> "Recipe":
        """Return the recipe with some fields changed."""
        return replace(self, **changes)

    def save(self, path: Path | str) -> None:
        """Write `to_yaml` to a file."""
        Path(path).write_text(self.to_yaml())

    def to_yaml(self) -> str:
        """Return every field as YAML, with methods and threats by name."""
        return yaml.safe_dump(to_config(self), sort_keys=False)

    @staticmethod
    def from_yaml(text: str, source: str = "recipe") -> "Recipe":
        """Parse the text of `to_yaml`; missing fields keep their defaults.

        Raises:
            ValueError: invalid YAML, unknown fields or names, or values of the wrong type.
        """
        config = parse_yaml(text, source)
        if not isinstance(config, dict):
            raise ValueError(f"{source} must hold fields such as 'epochs: 50', got {type(config).__name__}.")
        try:
            recipe: Recipe = build(Recipe, config, source)
            return recipe
        except ValueError as error:  # it may quote the whole file
            raise ValueError(printable(error, most=2000)) from None
