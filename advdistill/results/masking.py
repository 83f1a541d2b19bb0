"""Findings of the single checks for gradient masking, and the verdict that combines them."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from typeguard import TypeCheckError, check_type

from .._internal.reading import printable, read_text
from .plain import build
from .result import wilson

__all__ = ["CHECKS", "Finding", "Status", "Verdict", "status_of_share"]

CHECKS = (
    *("train_mode", "softmax", "randomness", "batch_dependence", "gradients", "logit_scale"),
    *("growing_eps", "longer", "losses", "black_box", "transfer"),
)  # each check has a finding; `skip` if it could not be run
Status = Literal["skip", "pass", "warn", "fail"]  # from good to bad; skip: could not be run, see `reason`


@dataclass(frozen=True)
class Finding:
    """The outcome of one check.

    Args:
        figures: the measured numbers; shares and accuracies as fractions, counts and logits unscaled.
        reason: one sentence with these numbers.
    """

    name: str
    status: Status
    figures: dict[str, float]
    reason: str

    @staticmethod
    def of(name: str, status: Status, figures: dict[str, float], said: str, advice: str) -> "Finding":
        """Create a finding whose reason is `said`, followed by the advice unless the status is `pass`."""
        return Finding(name, status, figures, f"{said}." if status == "pass" else f"{said}: {advice}.")

    def __str__(self) -> str:
        return f"{self.status}  {self.name}: {self.reason}"


@dataclass(frozen=True)
class Verdict:
    """The findings on one model, and the data and threat model they were measured with.

    Args:
        data: the split, such as `"cifar10/test"`.
        threat: such as `"Linf 8/255"`.
        n: number of images, the first of the split.
        weights: the model's digest, as in `Result`; `None` in files of earlier versions.
    """

    data: str
    threat: str
    n: int
    seed: int
    findings: tuple[Finding, ...]
    weights: str | None = None

    @property
    def status(self) -> Status:
        """The worst status of the findings."""
        return max((finding.status for finding in self.findings), key=get_args(Status).index, default="skip")

    def __getitem__(self, name: str) -> Finding:
        return {finding.name: finding for finding in self.findings}[name]

    @staticmethod
    def load(path: Path) -> "Verdict":
        """Read the JSON of `to_json`.

        Raises:
            ValueError: the file is truncated, not JSON, not a verdict, or lacks the finding of a check.
        """
        try:
            values = check_type(json.loads(read_text(path)), dict)
            findings = tuple(build(Finding, one) for one in check_type(values.get("findings"), list))
            verdict: Verdict = build(Verdict, values | {"findings": findings})
            if verdict.n < 1:
                raise ValueError(f"{verdict.n} images")
            found = [finding.name for finding in findings]
            if absent := [name for name in CHECKS if name not in found]:
                raise ValueError(f"it lacks the findings of {', '.join(absent)}, and every check has one")
            if len(set(found)) < len(found):
                raise ValueError("it has two findings of one check")
            if values.get("status") != verdict.status:
                raise ValueError(f"its status is {values.get('status')!r}, but its findings give {verdict.status!r}")
            return verdict
        except (ValueError, RecursionError, TypeCheckError) as error:
            raise ValueError(
                f"{path} is damaged or not a verdict on gradient masking ({printable(error)}). "
                "Delete it, or evaluate again with --masking."
            ) from None

    def to_json(self) -> dict[str, Any]:
        """Return plain values for `json.dumps`, including the status."""
        return {"status": self.status} | asdict(self) | {"findings": [asdict(finding) for finding in self.findings]}


def status_of_share(count: int, n: int, warn: float, fail: float = 1.0) -> Status:
    """Return `fail` or `warn` if `count` of `n` is significantly above that share: its 95 % interval lies above."""
    lower = wilson(count, n)[0] if count else 0.0  # for a count of 0, rounding leaves the lower end slightly above 0
    return "fail" if lower > fail else "warn" if lower > warn else "pass"
