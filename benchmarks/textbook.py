"""Training steps as in released scripts: eager, fp32, one function per method, from the papers' formulas."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

EPS, STEP, STEPS = 8 / 255, 2 / 255, 10


def divergence(target: Tensor, logits: Tensor) -> Tensor:
    """KL(softmax(target) || softmax(logits)), mean over the batch."""
    return F.kl_div(logits.log_softmax(1), target.softmax(1), reduction="batchmean")


def attack(student: nn.Module, x: Tensor, objective) -> Tensor:
    student.eval()
    x_adv = x.detach() + 0.001 * torch.randn_like(x)
    for _ in range(STEPS):
        x_adv.requires_grad_()
        with torch.enable_grad():
            loss = objective(x_adv)
        (gradient,) = torch.autograd.grad(loss, [x_adv])
        x_adv = x_adv.detach() + STEP * gradient.sign()
        x_adv = torch.min(torch.max(x_adv, x - EPS), x + EPS).clamp(0, 1)
    student.train()
    return x_adv.detach()


def rslad(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    with torch.no_grad():
        soft = teacher(x)
    x_adv = attack(student, x, lambda images: divergence(soft, student(images)))
    return 5 / 6 * divergence(soft, student(x_adv)) + 1 / 6 * divergence(soft, student(x))


def adaad(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x_adv = attack(student, x, lambda images: divergence(teacher(images), student(images)))
    with torch.no_grad():
        soft = teacher(x_adv)
    return divergence(soft, student(x_adv))


def adaad_igdm(student: nn.Module, teacher: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    x_adv = attack(student, x, lambda images: divergence(teacher(images), student(images)))
    x_minus = 2 * x - x_adv
    with torch.no_grad():
        soft = teacher(x_adv)
        change = teacher(x_adv) - teacher(x_minus)
    loss = divergence(soft, student(x_adv))
    return loss + 5 * divergence(change, student(x_adv) - student(x_minus))


LOSSES = {"rslad": rslad, "adaad": adaad, "adaad+igdm": adaad_igdm}
