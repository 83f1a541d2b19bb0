"""Write a model card: what was measured and how, and the limits of these figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from ..config import to_config
from ..recipe import Recipe
from ..results.result import Measurement, Result
from .result import NOT_MEASURED, robust

__all__ = ["About", "card"]

TAGS = ["adversarial-robustness", "robust-distillation", "image-classification", "pytorch", "safetensors"]
LIMITS = """\
- A figure under an attack is an upper bound: another attack may break more images.
- It holds for this threat model alone: nothing follows for a larger eps, another norm, patches, rotations, blur or \
other data.
- It holds for this file alone. A quantised, converted or fine-tuned copy is another network: measure that one \
(`advdistill export`)."""


@dataclass(frozen=True)
class About:
    """What is known of a model.

    Args:
        reference: the reference that loads the model, such as `hf:OWNER/NAME`.
        spec: the fields of the network's `ModelSpec`.
        result: `None` if nothing was measured.
        recipe: the recipe of its run, if it has one.
        chosen: how the checkpoint was chosen.
        masking: the verdict on gradient masking, if it was tested.
        files: results of the files exported from the model, by file name.
        unverified: why the figures of `result` cannot be checked, if they cannot.
    """

    name: str
    reference: str
    spec: Mapping[str, object]
    result: Result | None = None
    recipe: Recipe | None = None
    chosen: str | None = None
    masking: str | None = None
    files: Mapping[str, Result] = field(default_factory=dict)
    unverified: str | None = None


def card(about: About) -> str:
    """Return a README.md with YAML front matter for Hugging Face. It states no figure that was not measured."""
    front = yaml.safe_dump(_front(about), sort_keys=False, allow_unicode=True)
    parts = [_head(about), _figures(about), _limits(about), _training(about)]
    return f"---\n{front}---\n\n" + "\n\n".join(part for part in parts if part) + "\n"


def _front(about: About) -> dict[str, object]:
    front: dict[str, object] = {"library_name": "advdistill", "pipeline_tag": "image-classification", "tags": TAGS}
    result = about.result
    if result is None or not result.measurements:
        return front
    data, _, split = result.data.rpartition("/")
    metrics = [
        {"type": "accuracy", "name": f"{m.attack}, {result.threat}, first {m.n} images", "value": _in_percent(m)}
        for m in result.measurements
    ]
    dataset = {"name": data, "type": data, "split": split}
    measured = {"task": {"type": "image-classification"}, "dataset": dataset, "metrics": metrics}
    return front | {"datasets": [data], "metrics": ["accuracy"],
                    "model-index": [{"name": about.name, "results": [measured]}]}  # fmt: skip


def _head(about: About) -> str:
    code = f'```python\nimport advdistill as ad\n\nmodel = ad.models.load("{about.reference}")\n```'
    shape = f"`{about.spec['name']}`, {about.spec['num_classes']} classes"
    return (
        f"# {about.name}\n\n{shape}. Images are float32 `[B, {about.spec['in_channels']}, H, W]` in [0, 1]; "
        f"normalisation is inside; outputs are logits.\n\n{code}"
    )


def _figures(about: About) -> str:
    result = about.result
    lines = ["## Figures", f"**Robust accuracy: {_claim(result)}**"]
    if result and result.measurements:
        lines.append(f"On {result.data} ({result.fingerprint}), {result.threat}, seed {result.seed}, {result.date}.")
        lines.append(_measurement_table(result.measurements))
        lines += [f"**{m.attack}**: {m.remark}." for m in result.measurements if m.remark]
        lines += [f"**Unverified**: {about.unverified}."] if about.unverified else []
        lines.append(f"Measured by `{result.command}`." if result.command else "The command is not known.")
    if about.files:
        measured = "\n".join(
            f"- `{name}`: robust accuracy {robust(one.measurements, one.data, one.threat)}"
            for name, one in about.files.items()
        )
        lines.append(f"Files made from it, each measured by itself:\n\n{measured}")
    return "\n\n".join(lines)


def _claim(result: Result | None) -> str:
    lowest = result.hardest if result else None
    if result is None or lowest is None:
        return f"{NOT_MEASURED}. This card states none."
    if any(m.attack == "autoattack" for m in result.measurements):
        return f"{_accuracy_in_words(lowest)} under {lowest.settings}."
    return (
        f"at most {_accuracy_in_words(lowest)} under {lowest.attack} ({lowest.settings}). AutoAttack was not run; "
        "it usually breaks more."
    )


def _accuracy_in_words(m: Measurement) -> str:
    low, high = (100 * bound for bound in m.interval)
    return f"{_in_percent(m)} % (95 % interval {low:.1f} to {high:.1f}) of the first {m.n} images"


def _measurement_table(measurements: Sequence[Measurement]) -> str:
    rows = ["| attack | settings | images | accuracy in % | 95 % interval |", "|---|---|--:|--:|--:|"]
    for m in measurements:
        low, high = (100 * bound for bound in m.interval)
        rows.append(f"| {m.attack} | {m.settings or '-'} | {m.n} | {_in_percent(m)} | {low:.1f} to {high:.1f} |")
    return "\n".join(rows)


def _limits(about: About) -> str:
    found = about.masking or "not tested"
    chosen = about.chosen or "not known; if it was chosen on the test split, every accuracy is too high"
    seed = "- One training run: another seed gives other figures." if about.recipe else ""
    told = [LIMITS, f"- Gradient masking: {found}.", f"- How the checkpoint was chosen: {chosen}.", seed]
    return "## Limits of the claim\n\n" + "\n".join(line for line in told if line)


def _training(about: About) -> str:
    if about.recipe is None:
        return "## Training\n\nNot known: this card was made from a checkpoint."
    config = to_config(about.recipe)
    for role in config.keys() & {"teacher", "clean_teacher", "peer"}:  # a path reveals details of the machine
        config[role] = config[role] and Path(config[role]).name
    config["data"]["folder"] = None
    text = yaml.safe_dump(config, sort_keys=False, allow_unicode=True)
    return f"## Training\n\n`advdistill train recipe.yaml` with the recipe\n\n```yaml\n{text}```"


def _in_percent(m: Measurement) -> float:
    return round(100 * m.accuracy, 2)
