"""A recipe: every choice of a run, typed and checked, and its YAML form."""

from dataclasses import dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_type_hints

import typeguard
import yaml

from . import methods
from ._internal.messages import unknown
from ._internal.reading import parse_yaml, printable
from .attacks import PGD, CustomAttack
from .methods import RSLAD, Method
from .threat import L2, Linf, Threat, show_pixels

__all__ = ["SGD", "Data", "Recipe", "Schedule"]

THREATS: dict[str, type[Linf] | type[L2]] = {"linf": Linf, "l2": L2}


@dataclass(frozen=True)
class Data:
    """The images that are trained on; the test split is read by evaluation only.

    >>> Data("cifar10", augment="crop_flip").validation
    0.1
    """

    name: str = "digits"
    """One of `advdistill list datasets`; or your own: a folder of images, .npz, .csv, .parquet, or hf:OWNER/NAME."""
    folder: str | None = None
    """Folder of the files, if they are not in the cache."""
    size: int | None = None
    """Side in pixels to which your own images are resized and centre-cropped; needed where they differ in size."""
    stream: bool = False
    """Decode your own image files batch by batch, in worker processes: for data that does not fit the memory."""
    validation: float = 0.1
    """Fraction of the training split held out, stratified, to choose the checkpoint."""
    train_images: int | None = None
    """Train on this many images only, stratified."""
    augment: Literal["none", "shift", "crop_flip"] = "none"
    """`shift` by one pixel; `crop_flip`: crop after padding by 4, flip."""

    def __post_init__(self) -> None:
        _between("data.validation", self.validation, 0.001, 0.5)
        _between("data.size", self.size, 8, 512)


@dataclass(frozen=True)
class SGD:
    """Stochastic gradient descent; refuses values that cannot be meant.

    >>> SGD(lr=0.05, nesterov=True)
    SGD(lr=0.05, momentum=0.9, weight_decay=0.0005, nesterov=True)
    >>> SGD(lr=-1)
    Traceback (most recent call last):
    ValueError: optimizer.lr must lie between 0 and 100, got -1.
    """

    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    nesterov: bool = False

    def __post_init__(self) -> None:
        _between("optimizer.lr", self.lr, 0, 100)
        _between("optimizer.momentum", self.momentum, 0, 1)
        _between("optimizer.weight_decay", self.weight_decay, 0, 1)


@dataclass(frozen=True)
class Schedule:
    """How the learning rate changes; lengths below 1 are fractions of the run, others are epochs.

    >>> Schedule("multistep", milestones=(100, 150))  # a tenth of the rate from epoch 100 on, a hundredth from 150
    Schedule(kind='multistep', milestones=(100, 150), gamma=0.1, warmup=0.0, hold=0.0)
    """

    kind: Literal["constant", "multistep", "cosine", "onecycle"] = "multistep"
    milestones: tuple[float, ...] = (0.5, 0.75)
    """multistep: after these the rate is multiplied by gamma."""
    gamma: float = 0.1
    warmup: float = 0.0
    """cosine and onecycle: the rate climbs linearly until here."""
    hold: float = 0.0
    """cosine: the rate stays at the top until here."""


@dataclass(frozen=True)
class Recipe:
    """Every choice of a run, which its folder keeps as `recipe.yaml`.

    >>> recipe = Recipe(RSLAD(), student="convnet-2", data=Data("digits"), epochs=2)
    >>> Recipe.from_yaml(recipe.to_yaml()) == recipe
    True
    """

    method: Method = field(default_factory=RSLAD)
    """Coefficients of the method; choose another with --method NAME."""
    student: str = "convnet-16"
    """See `advdistill list models`."""
    teacher: str | None = None
    """The robust teacher: a run folder, file:PATH, robustbench:NAME, hf:OWNER/NAME; see `advdistill list teachers`."""
    clean_teacher: str | None = None
    """The teacher of clean accuracy, for methods that take one."""
    data: Data = field(default_factory=Data)
    attack: PGD | CustomAttack = field(default_factory=PGD)
    """The attack in training; start and student mode are the method's unless given."""
    optimizer: SGD = field(default_factory=SGD)
    schedule: Schedule = field(default_factory=Schedule)
    epochs: int = 50
    batch_size: int = 128
    """Images per step over all processes."""
    ema: float | None = None
    """Decay per step of an exponential average of the weights, which is then evaluated and saved instead of them."""
    swa: float | None = None
    """Average the weights at the ends of epochs from this epoch or fraction on; the average is evaluated and saved."""
    awp: float | None = None
    """Adversarial weight perturbation of this size, relative to each layer's norm; 0.005 and 0.01 are usual."""
    label_mixing: float = 0.0
    """Share of the label in the outputs of frozen teachers."""
    teacher_every: int | None = None
    """For AdaAD, AdaIAD, DGAD: in the attack, run the teacher at every k-th step only, linear in between."""
    precision: Literal["fp32", "bf16", "auto"] = "fp32"
    """Of training; auto is bf16 where it is native. Evaluation is always fp32."""
    compile: bool = False
    """Compile the networks that the attack runs; on a GPU the whole attack is one CUDA graph."""
    select_by: Literal["robust", "mean", "clean"] = "robust"
    """Validation accuracy that chooses the best checkpoint: PGD-10, clean, or their mean."""
    validate_every: int = 1
    on_divergence: Literal["stop", "rollback"] = "stop"
    """Where a loss is no longer finite: stop, or go back to the end of the last epoch with half the learning rate."""
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("epochs", "batch_size", "validate_every", "teacher_every"):
            _between(name, getattr(self, name), 1, 10**9)
        if isinstance(self.attack, CustomAttack):
            self.attack.check_named()
        _between("ema", self.ema, 0, 1)
        _between("awp", self.awp, 0, 1)
        _between("swa", self.swa, 0, max(1, self.epochs - 1))
        if self.ema is not None and self.swa is not None:
            raise ValueError(f"ema ({self.ema}) and swa ({self.swa}) are two averages of the same weights; choose one.")
        _between("label_mixing", self.label_mixing, 0, 0.999)

    @property
    def teachers(self) -> dict[str, str | None]:
        """The references of the teachers by role."""
        return {"robust": self.teacher, "clean": self.clean_teacher}

    def replace(self, **changes: Any) -> "Recipe":
        """The same recipe with other fields."""
        return replace(self, **changes)

    def save(self, path: Path | str) -> None:
        """Write `to_yaml` to a file."""
        Path(path).write_text(self.to_yaml())

    def to_yaml(self) -> str:
        """Every field as YAML, methods and threats by name."""
        return yaml.safe_dump(to_config(self), sort_keys=False)

    @staticmethod
    def from_yaml(text: str, source: str = "recipe") -> "Recipe":
        """Read what `to_yaml` wrote; what is left out keeps its default.

        Raises:
            ValueError: not YAML, unknown fields or names, values of the wrong type.
        """
        config = parse_yaml(text, source)
        if not isinstance(config, dict):
            raise ValueError(f"{source} must hold fields such as 'epochs: 50', got {type(config).__name__}.")
        try:
            return _build(Recipe, config, source)
        except ValueError as error:  # it may quote the whole file
            raise ValueError(printable(error, most=2000)) from None


def to_config(value: Any) -> Any:
    """Dataclasses as plain values: methods and threats by name, lengths in pixels as n/255."""
    if isinstance(value, Method):
        return methods.to_config(value)
    if isinstance(value, Threat):
        return {value.name.lower(): show_pixels(value.eps)}
    if is_dataclass(value):
        shown = {"step_size": show_pixels(value.step_size)} if isinstance(value, PGD) else {}
        return {f.name: to_config(getattr(value, f.name)) for f in fields(value)} | shown
    return list(value) if isinstance(value, tuple) else value


def _build(kind: Any, config: Any, where: str) -> Any:
    hints = get_type_hints(kind)
    if not isinstance(config, dict):
        raise ValueError(f"{where} must hold fields ({', '.join(hints)}), got {config!r}.")
    known = [f.name for f in fields(kind)]
    for name in config:
        if name not in known:
            raise unknown(f"field of {where}", str(name), known)
    return kind(**{name: _value(hints[name], value, f"{where}: {name}") for name, value in config.items()})


def _value(hint: Any, value: Any, where: str) -> Any:
    if hint is Method:
        return _method(value, where)
    if hint is Threat:
        return _threat(value, where)
    if hint == PGD | CustomAttack:
        hint = CustomAttack if isinstance(value, dict) and "python" in value else PGD
    if is_dataclass(hint):
        return _build(hint, value, where)
    if hint == tuple[float, ...] and isinstance(value, list):
        value = tuple(value)
    if hint in (float, float | None) and isinstance(value, str):
        value = _number(value)  # YAML reads 5e-4 as text
    try:
        return typeguard.check_type(value, hint, collection_check_strategy=typeguard.CollectionCheckStrategy.ALL_ITEMS)
    except typeguard.TypeCheckError as error:
        raise ValueError(f"{where} cannot be {value!r}: {error}.") from None


def _method(value: Any, where: str) -> Method:
    if isinstance(value, str):
        return methods.build(value)
    if not (isinstance(value, dict) and value and all(isinstance(part, dict | None) for part in value.values())):
        raise ValueError(f"{where} must be a name or names with coefficients, 'rslad: {{scale: 0.1}}', got {value!r}.")
    return methods.from_config(value)


def _threat(value: Any, where: str) -> Threat:
    if not (isinstance(value, dict) and len(value) == 1):
        raise ValueError(f"{where} must be one of 'linf: 8/255' or 'l2: 128/255', got {value!r}.")
    ((name, eps),) = value.items()
    if name not in THREATS:
        raise unknown("threat model", name, THREATS)
    return THREATS[name](eps)


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def _between(name: str, value: float | None, low: float, high: float) -> None:
    if value is not None and not low <= value <= high:
        raise ValueError(f"{name} must lie between {low:g} and {high:g}, got {printable(value)}.")
