"""Signs of gradient masking computed from `Passes`, and all thresholds: shares of images; a pair is (warn, fail)."""

import math

import torch
from torch import Tensor, nn

from ...losses import cross_entropy
from ...results.masking import Finding, status_of_share
from .passes import Passes

__all__ = ["FROM_PASSES", "train_mode"]

ROUNDING = 1e-3  # relative to a typical logit; fp32 sums in another order differ by about 1e-6
NO_GRADIENT = 0.01  # one image without a gradient is chance, more are a property of the model
VANISHED = 1e-6  # nats: the label's probability is within a few fp32 roundings of 1
MOSTLY = 0.5  # confident models have some such images, and the gradient's sign is still useful
SCALE = -math.log(torch.finfo(torch.float32).tiny)  # 87.3: with a larger gap, a probability is not a normal fp32 number
UNBOUNDED = 0.01  # an unbounded attack breaks all images, but a few may survive 20 coarse steps; above chance: fail
LONGER = (0.03, 0.08)  # sound models lose up to 3 points more to the longer attack
LOSSES = 0.1  # sound models withstand one loss up to 9 points better than the other, either way
BLACK_BOX = (0.005, 0.02)  # after three white-box attacks, few queries should find next to nothing


def train_mode(model: nn.Module) -> Finding:
    """Check whether the given model has layers in train mode; the evaluated copy never has."""
    kinds = {"batch_norm": nn.modules.batchnorm._BatchNorm, "dropout": nn.modules.dropout._DropoutNd}
    training = [module for module in model.modules() if module.training]
    left = {name: float(sum(isinstance(module, kind) for module in training)) for name, kind in kinds.items()}
    said = f"{left['batch_norm']:.0f} batch-norm and {left['dropout']:.0f} dropout layers are in train mode"
    if any(left.values()):
        said += "; this was tested in eval mode, call model.eval() before you use the model yourself"
    return Finding("train_mode", "warn" if any(left.values()) else "pass", left, f"{said}.")


def softmax_outputs(found: Passes) -> Finding:
    """Check whether the outputs are already probabilities."""
    within = ((found.logits >= 0) & (found.logits <= 1)).all(1)
    share = _share(within & ((found.logits.sum(1) - 1).abs() < ROUNDING))
    said = f"{share:.1%} of the outputs lie in [0, 1] and sum to 1"
    return _finding("softmax", share == 1, {"share": share}, said, "return logits, the losses take the softmax")


def randomness(found: Passes) -> Finding:
    """Check whether a second forward pass gives other logits."""
    figures = _apart(found.logits, found.again)
    said = "two passes of the same images differ by {difference:.2g} of a usual logit and give {labels_changed:.1%} "
    said = said.format(**figures) + "other labels"
    return _finding("randomness", figures["difference"] > ROUNDING, figures, said, "attack the mean over many draws")


def batch_dependence(found: Passes) -> Finding:
    """Check whether an image's logits depend on the other images of its batch."""
    if _apart(found.logits, found.again)["difference"] > ROUNDING:
        return Finding("batch_dependence", "skip", {}, "the forward pass is random, so batches cannot be compared.")
    figures = _apart(found.batched, found.alone)
    said = "logits of an image alone and in a batch differ by {difference:.2g} of a usual logit and give "
    said = (said + "{labels_changed:.1%} other labels").format(**figures)
    return _finding("batch_dependence", figures["difference"] > ROUNDING, figures, said, "classify images one by one")


def input_gradients(found: Passes) -> Finding:
    """Check whether the cross-entropy has a gradient at the images."""
    lost = int((found.zero | found.not_finite).sum())
    figures = {"zero": _share(found.zero), "not_finite": _share(found.not_finite)}
    said = f"the cross-entropy's gradient is zero at {figures['zero']:.1%} of the images and not finite at "
    said += f"{figures['not_finite']:.1%}" + (": there an attack has nothing to climb." if lost else ".")
    return Finding("gradients", status_of_share(lost, len(found.zero), 0, NO_GRADIENT), figures, said)


def logit_scale(found: Passes) -> Finding:
    """Check whether the logits are so far apart that the cross-entropy's gradient vanishes in fp32."""
    top, n = found.logits.topk(min(2, found.logits.shape[1])).values, len(found.labels)
    gone = int((cross_entropy(found.logits, found.labels) < VANISHED).sum())
    figures = {"median_gap": (top[:, 0] - top[:, -1]).median().item(), "vanished": gone / n}
    said = f"the median gap of the two largest logits is {figures['median_gap']:.4g}, and the cross-entropy is below "
    said += f"{VANISHED:g} at {figures['vanished']:.1%} of the images"
    status = "fail" if figures["median_gap"] > SCALE else status_of_share(gone, n, MOSTLY)
    return Finding.of("logit_scale", status, figures, said, "divide the logits")


FROM_PASSES = (softmax_outputs, randomness, batch_dependence, input_gradients, logit_scale)


def _finding(name: str, failed: bool, figures: dict[str, float], said: str, advice: str) -> Finding:
    return Finding.of(name, "fail" if failed else "pass", figures, said, advice)


def _apart(one: Tensor, other: Tensor) -> dict[str, float]:
    """Return the largest logit difference, in units of the median image's largest, and the share of changed labels."""
    usual = one.abs().amax(1).median().clamp(min=torch.finfo(one.dtype).tiny)
    difference = ((one - other).abs().max() / usual).item()
    return {"difference": difference, "labels_changed": _share(one.argmax(1) != other.argmax(1))}


def _share(flags: Tensor) -> float:
    return flags.double().mean().item()
