import pytest
import torch
from torch import nn
from torch.testing import assert_close

from advdistill import ARD, IGDM, PGD, RSLAD, TRADES, AdaAD, Distiller, Linf, Standard, methods, models
from advdistill._internal.modes import in_mode
from advdistill._internal.rng import Rng
from advdistill.acceleration.frozen import Frozen
from advdistill.losses import kl

ATTACK = PGD(3, 0.05, Linf(0.1))


def test_the_loss_of_rslad_is_that_of_a_loop_written_by_hand(tiny, batch):
    student, teacher, (x, y) = tiny(0), tiny(1), batch
    soft = teacher(x).softmax(1).detach()

    def divergence(logits):
        return (soft * ((soft + 1e-5).log() - logits.log_softmax(1))).sum(1)

    x_adv = x + 0.001 * Rng(5).normal(x)
    for _ in range(3):
        x_adv.requires_grad_()
        (gradient,) = torch.autograd.grad(divergence(student(x_adv)).sum(), x_adv)
        x_adv = (x_adv.detach() + 0.05 * gradient.sign()).clamp(x - 0.1, x + 0.1).clamp(0, 1)
    expected = 5 / 6 * divergence(student(x_adv)).mean() + 1 / 6 * divergence(student(x)).mean()

    distill = Distiller(RSLAD(), teacher, attack=ATTACK)
    assert_close(distill(student, x, y, rng=Rng(5)), expected, rtol=1e-4, atol=1e-6)


def test_the_attack_takes_start_and_mode_from_the_method_unless_given(tiny):
    ard = Distiller(ARD(), tiny(), attack=ATTACK).attack
    assert (ard.start, ard.student_mode) == ("uniform_unclamped", "train")
    igdm = Distiller(ARD() + IGDM(), tiny(), attack=PGD(3, 0.05, Linf(0.1), "none", "eval")).attack
    assert (igdm.start, igdm.student_mode) == ("none", "eval")
    assert Distiller(AdaAD() + IGDM(), tiny()).attack.start == "gaussian"


class Watched(nn.Module):
    """A network with one batch-norm that records the mode of each forward pass."""

    def __init__(self, classes=4):
        super().__init__()
        self.norm, self.head, self.modes = nn.BatchNorm2d(1), nn.Linear(16, classes), []

    def forward(self, x):
        self.modes.append(self.training)
        return self.head(self.norm(x).flatten(1))


@pytest.mark.parametrize(("method", "attacked_in"), [(ARD(), True), (RSLAD(), False), (TRADES(), False)])
def test_modes_during_the_attack_and_after_it(method, attacked_in, tiny, batch):
    student = Watched().train()
    distill = Distiller(method, tiny(), attack=ATTACK)
    distill(student, *batch)
    attack_calls = student.modes[1 : 1 + 3]  # the first call checks the classes, in eval mode
    assert attack_calls == [attacked_in] * 3 and student.modes[-1] and student.training


def test_frozen_parts_of_a_student_stay_frozen(tiny, batch):
    student = Watched().train()
    student.norm.eval()
    Distiller(RSLAD(), tiny(), attack=ATTACK)(student, *batch)
    assert student.training and not student.norm.training
    with in_mode(student, True):
        assert student.norm.training
    assert not student.norm.training


def test_an_eval_attack_leaves_running_statistics_to_the_loss(tiny, batch):
    student, distill = Watched().train(), Distiller(RSLAD(), tiny(), attack=ATTACK)
    distill(student, *batch)
    assert student.norm.num_batches_tracked == 2  # x' and x


def test_teachers_are_frozen_and_get_no_gradient(tiny, batch):
    teacher = Watched().train()
    Distiller(AdaAD(), teacher, attack=ATTACK)(tiny(), *batch).backward()
    assert not teacher.training and all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert teacher.norm.num_batches_tracked == 0


def test_standard_training_attacks_nothing(tiny, batch):
    student, (x, y) = tiny(), batch
    assert_close(Distiller(Standard())(student, x, y), nn.functional.cross_entropy(student(x), y))


def test_bf16_autocast_keeps_the_students_gradient(tiny, batch):
    # weights that autocast cast under no_grad in the attack must not be reused where gradients are needed
    student = tiny()
    with torch.autocast("cpu", torch.bfloat16):
        loss = Distiller(TRADES(), attack=ATTACK)(student, *batch)
    loss.backward()
    assert loss.dtype == torch.float32
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in student.parameters())


def test_another_network_can_stand_in_for_the_attacked_student(tiny, batch):
    student, attacked = Watched(), Watched()
    distill = Distiller(RSLAD(), tiny(), attack=ATTACK)
    distill.losses(distill.craft(attacked, *batch), student)
    assert len(attacked.modes) == 1 + 3 and len(student.modes) == 2


FAST = ["pgd_at", "trades", "rslad", "adaad+igdm", "saad", "bmtard", "peeraid", "fair_rslad", "dgad"]


def convnets():
    """Yield student, robust teacher, clean teacher and peer; their batch-norm statistics are not the initial ones."""
    for seed in range(4):
        torch.manual_seed(seed)
        network = models.create("convnet-8", 10, 1).train()
        for _ in range(20):
            network(torch.rand(32, 1, 8, 8))
        yield network


@pytest.mark.parametrize("name", FAST)
def test_the_fast_path_is_the_plain_path(name):
    x, y, found = torch.rand(16, 1, 8, 8), torch.arange(16) % 10, []
    for fast in (None, torch.float32):
        student, teacher, clean, peer = convnets()
        distill = Distiller(methods.build(name), teacher, clean, ATTACK, peer=peer, fast=fast)
        for step in range(2):  # the student's weights differ in the second step
            made = distill.craft(student, x, y, rng=Rng(step))
            loss = sum(loss.mean() for loss in distill.losses(made, student).values())
            gradients = torch.autograd.grad(loss, list(student.parameters()))
            with torch.no_grad():
                for parameter, gradient in zip(student.parameters(), gradients, strict=True):
                    parameter -= 0.01 * gradient
        found.append((made.x_adv, loss, torch.cat([gradient.flatten() for gradient in gradients])))
    (x_adv, loss, gradient), (fast_x_adv, fast_loss, fast_gradient) = found
    assert not torch.equal(x_adv, x) and ((x_adv - fast_x_adv).abs() < 1e-4).float().mean() > 0.99
    assert_close(fast_loss, loss, rtol=1e-3, atol=1e-5)
    assert torch.cosine_similarity(gradient, fast_gradient, dim=0) > 0.999


def test_the_fast_path_attacks_a_copy_and_teaches_the_student(monkeypatch):
    student, teacher, *_ = convnets()
    calls, forward = [], Frozen.forward
    monkeypatch.setattr(Frozen, "forward", lambda self, x: calls.append(id(self)) or forward(self, x))
    distill = Distiller(RSLAD(), teacher, attack=ATTACK, fast=torch.float32)
    tracked = student.bn1.num_batches_tracked.item()
    distill(student, torch.rand(4, 1, 8, 8), torch.arange(4)).backward()
    robust, *attack = calls
    assert attack == [attack[0]] * 3 and robust != attack[0]
    assert student.bn1.num_batches_tracked == tracked + 2  # x' and x


@pytest.mark.parametrize(("action", "message"), [
    (lambda t, x, y: Distiller(RSLAD()), "RSLAD needs a robust teacher.*Give --teacher."),
    (lambda t, x, y: Distiller(RSLAD(), t)(t, x * 3 - 1, y), r"Images must lie in \[0, 1\]; this batch spans \[-"),
    (lambda t, x, y: Distiller(RSLAD(), t)(t, x[0], y), "Images must be floats"),
    (lambda t, x, y: Distiller(RSLAD(), t)(t, (x * 255).byte(), y), "Images must be floats.*uint8"),
    (lambda t, x, y: Distiller(RSLAD(), t)(t, x, y + 1), r"Labels must lie in 0..3 for 4 classes; this batch has 4"),
    (lambda t, x, y: Distiller(RSLAD(), Watched(7))(t, x, y), "robust teacher has 7 classes, the student 4"),
    (lambda t, x, y: Distiller(RSLAD(), models.create("resnet8"))(t, x, y), "robust teacher cannot take images"),
])  # fmt: skip
def test_mistakes_are_explained(action, message, tiny, batch):
    with pytest.raises(ValueError, match=message):
        action(tiny(), *batch)


class Expert(RSLAD):
    """RSLAD with a teacher in a role that has no argument of its own."""

    teachers = ("expert",)

    def inner(self, batch):
        return lambda x_adv: kl(batch.teachers["expert"](batch.x), batch.student(x_adv))

    def outer(self, batch):
        return {"adv": kl(batch.teachers["expert"](batch.x), batch.student(batch.x_adv))}


def test_a_teacher_may_have_any_role(tiny, batch):
    with pytest.raises(ValueError, match=r"needs a expert teacher; it is missing. Give teachers=\{'expert': \.\.\.\}"):
        Distiller(Expert(), tiny(1))
    x, y = batch
    other = Distiller(Expert(), teachers={"expert": tiny(1)}, attack=ATTACK)
    assert other.teachers.keys() == {"expert"} and other(tiny(), x, y).isfinite()


def test_teachers_by_role_are_the_named_arguments(tiny, batch):
    x, y = batch
    by_name = Distiller(methods.build("mtard"), tiny(1), tiny(2), ATTACK)
    by_role = Distiller(methods.build("mtard"), attack=ATTACK, teachers={"clean": tiny(2), "robust": tiny(1)})
    losses = [distiller(tiny(), x, y, rng=Rng(0)) for distiller in (by_name, by_role)]
    assert torch.equal(*losses)
