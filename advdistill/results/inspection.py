"""Numbers and pictures that a report shows besides accuracies, computed with the networks, saved in one file."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from typeguard import TypeCheckError

from .._internal.files import write_atomic
from .._internal.reading import ordinary, printable
from .plain import build
from .result import MOST, Measurement

__all__ = ["Example", "Inspection", "Prediction", "Network"]


@dataclass(frozen=True)
class Network:
    """Numbers of one network.

    Attributes:
        curve: PGD-20 accuracy by eps, ascending.
        classes: by `clean` and the attack's name, images and correct predictions of each class, `(n, correct)`.
        calibration: by `clean` and the attack's name, the expected calibration error in [0, 1].
        remainder: relative error of a linearisation of the logits near an image; `None` if torch cannot compute it.
    """

    curve: dict[float, Measurement]
    classes: dict[str, list[tuple[int, int]]]
    calibration: dict[str, float]
    remainder: float | None


@dataclass(frozen=True, eq=False)
class Prediction:
    """The predictions of one network for one image; arrays `[C, H, W]`.

    Attributes:
        before, after: the predicted class of the clean and of the adversarial image.
        x_adv: the network's own adversarial image, in [0, 1].
        gradient: the gradient of the cross-entropy at the clean image.
    """

    before: str
    after: str
    x_adv: np.ndarray
    gradient: np.ndarray


@dataclass(frozen=True, eq=False)
class Example:
    """One test image `[C, H, W]` in [0, 1], its class, and each network's predictions for it."""

    clean: np.ndarray
    label: str
    predictions: Mapping[str, Prediction]


@dataclass(frozen=True, eq=False)
class Inspection:
    """A student, and its teacher if there is one, on the first images of a split.

    Attributes:
        weights: the student's digest, as in `Result`.
        data, fingerprint, threat, eps, n, seed: the images and the attack, as in `Result`.
        attack: the attack whose adversarial images are shown, with its settings.
        class_names: in the order of the labels.
        networks: by name, `student` and `teacher`.
        alignment: by scalar (`cross_entropy`, `true_logit`), cosine and L2 distance of the networks' input gradients.
        distances: by kind of perturbed image (`uniform`, `adversarial`), the L2 distance of the networks' logits.
        examples: the first image of each class, at most ten.
    """

    weights: str
    data: str
    fingerprint: str
    threat: str
    eps: float
    n: int
    seed: int
    attack: str
    class_names: tuple[str, ...]
    networks: dict[str, Network]
    alignment: dict[str, tuple[float, float]]
    distances: dict[str, float]
    examples: tuple[Example, ...]

    def save(self, path: Path) -> None:
        """Write numbers and pictures to one safetensors file."""
        figures = {name: value for name, value in vars(self).items() if name != "examples"}
        figures["networks"] = {name: _network_to_json(network) for name, network in self.networks.items()}
        arrays: dict[str, np.ndarray] = {}
        said: list[dict[str, Any]] = []
        for i, example in enumerate(self.examples):
            arrays[f"{i}.clean"] = example.clean
            said.append({"label": example.label, "looks": {}})  # `looks` are the predictions, as in earlier versions
            for name, one in example.predictions.items():
                arrays |= {f"{i}.{name}.x_adv": one.x_adv, f"{i}.{name}.gradient": one.gradient}
                said[i]["looks"][name] = {"before": one.before, "after": one.after}
        header = {"inspection": json.dumps(figures), "examples": json.dumps(said)}
        whole = {name: np.ascontiguousarray(array, np.float32) for name, array in arrays.items()}
        write_atomic(path, lambda temporary: save_file(whole, temporary, header))

    @staticmethod
    def load(path: Path) -> "Inspection":
        """Read what `save` wrote.

        Raises:
            FileNotFoundError: there is no such file.
            ValueError: the file is truncated, or not an inspection.
        """
        try:
            with safe_open(ordinary(path), "np") as opened:
                header = opened.metadata() or {}
                arrays = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
            figures, said = json.loads(header["inspection"]), json.loads(header["examples"])
            networks = {name: _network_from_json(values) for name, values in figures["networks"].items()}
            examples = tuple(_example_from_json(i, one, arrays) for i, one in enumerate(said))
            more = {"class_names": tuple(figures["class_names"]), "networks": networks, "examples": examples}
            more["alignment"] = {name: tuple(pair) for name, pair in figures["alignment"].items()}
            made = build(Inspection, figures | more)
            _check_inspection(made)
            return made
        except FAULTS as error:
            said = printable(error)
            raise ValueError(f"{path} is damaged or not an inspection ({said}). Delete it; it is made again.") from None


FAULTS = (SafetensorError, ValueError, KeyError, TypeError, AttributeError, TypeCheckError, RecursionError)


def _check_inspection(made: Inspection) -> None:
    """Raise ValueError if charts and pictures cannot be drawn from an inspection."""
    for example in made.examples:
        arrays = [array for one in example.predictions.values() for array in (one.x_adv, one.gradient)]
        shape = example.clean.shape
        if len(shape) != 3 or 0 in shape or any(array.shape != shape for array in arrays):
            raise ValueError(f"pictures of {list(shape)}, expected [C, H, W], the same for all pictures of an example")
    for network in made.networks.values():
        if "student" not in made.networks or not network.curve or not all(map(isfinite, network.curve)):
            raise ValueError("it lacks a student's curve")
        for pairs in network.classes.values():
            fit = all(0 <= correct <= n <= MOST for n, correct in pairs) and any(n for n, _ in pairs)
            if len(pairs) != len(made.class_names) or not fit:
                raise ValueError("the counts by class do not fit the classes")


def _network_to_json(network: Network) -> dict[str, Any]:
    return asdict(network) | {"curve": [[eps, asdict(m)] for eps, m in network.curve.items()]}


def _network_from_json(values: dict[str, Any]) -> Network:
    curve = {eps: build(Measurement, m) for eps, m in values["curve"]}
    classes = {attack: [tuple(pair) for pair in pairs] for attack, pairs in values["classes"].items()}
    return build(Network, values | {"curve": curve, "classes": classes})


def _example_from_json(i: int, said: dict[str, Any], arrays: dict[str, np.ndarray]) -> Example:
    predictions = {}
    for name, words in said["looks"].items():
        pictures = {what: arrays[f"{i}.{name}.{what}"] for what in ("x_adv", "gradient")}
        predictions[name] = build(Prediction, words | pictures)
    return build(Example, {"clean": arrays[f"{i}.clean"], "label": said["label"], "predictions": predictions})
