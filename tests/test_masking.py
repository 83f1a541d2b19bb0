"""Each check of gradient masking flags a model built for it, and no sound model."""

import json
import re

import pytest
import torch
from conftest import ROOT
from torch import nn
from torch.testing import assert_close

from advdistill import PGD, data, models
from advdistill._internal.rng import Rng
from advdistill.attacks.base import Attack
from advdistill.data.batches import to_float
from advdistill.evaluation.context import Context
from advdistill.evaluation.masking import Finding, Verdict, gradient_masking
from advdistill.evaluation.masking.attacks import losses
from advdistill.evaluation.masking.passes import passes
from advdistill.evaluation.networks import EvaluatedModel
from advdistill.losses import cross_entropy
from advdistill.results.masking import CHECKS, status_of_share
from advdistill.threat import L2, Linf

THREAT = Linf(0.1)
NAMES = list(CHECKS)
TEST = data.load("digits", "test")
TEST = TEST.take(torch.randperm(len(TEST), generator=torch.Generator().manual_seed(0)))


def trained(attack=None, epochs=8):
    """Train a convnet-8, adversarially if there is an attack; this takes a few seconds."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = models.create("convnet-8", num_classes=10, in_channels=1)
    train = data.load("digits", "train")
    x, y, steps = to_float(train.images), train.labels, epochs * 10
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9, weight_decay=5e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.2, total_steps=steps)
    for step in range(steps):
        index = torch.randint(len(y), (128,), generator=torch.Generator().manual_seed(step))
        part, labels = x[index], y[index]
        if attack:
            model.eval()
            part = attack(lambda x_adv, labels=labels: cross_entropy(model(x_adv), labels), part, Rng(step))
        model.train()
        optimizer.zero_grad()
        cross_entropy(model(part), labels).mean().backward()
        optimizer.step()
        schedule.step()
    return model.eval()


@pytest.fixture(scope="module")
def standard():
    return trained()


@pytest.fixture(scope="module")
def robust():
    return trained(PGD(3, 0.05, THREAT), epochs=12)


class Around(nn.Module):
    """A model with a function before it and one after it."""

    def __init__(self, model, before=lambda x: x, after=lambda logits: logits):
        super().__init__()
        self.model, self.before, self.after = model, before, after

    def forward(self, x):
        return self.after(self.model(self.before(x)))


def statuses(verdict):
    return {finding.name: finding.status for finding in verdict.findings}


def judge(model, n=60, threat=THREAT, split=TEST, **options):
    return gradient_masking(model, split, threat, n=n, **options)


@pytest.mark.parametrize("threat", [THREAT, L2(0.5)], ids=str)
@pytest.mark.parametrize("name", ["standard", "robust"])
def test_sound_models_pass(name, threat, request):
    lines, model = [], request.getfixturevalue(name)
    verdict = judge(model, 100, threat, surrogate=request.getfixturevalue("standard"), report=lines.append)
    assert statuses(verdict) == dict.fromkeys(NAMES, "pass"), verdict
    assert verdict.status == "pass" and lines == [str(finding) for finding in verdict.findings]
    growing = verdict["growing_eps"].figures
    assert growing["clean"] > 0.9 and growing["unbounded"] < 0.02 and growing["eps x 2"] <= growing["eps x 1"]
    assert growing["eps x 1"] == verdict["longer"].figures["pgd_20"] == verdict["losses"].figures["cross_entropy"]
    if name == "robust":
        assert growing["eps x 1"] > 0.4 and verdict["black_box"].figures["white_box"] > 0.4


def no_graph(x):
    return torch.from_numpy(x.detach().numpy())


class Steps(torch.autograd.Function):
    """Brightness rounded to three levels; the gradient is zero."""

    @staticmethod
    def forward(context, x):
        return (x > 0.3).float() / 2 + (x > 0.6).float() / 2

    @staticmethod
    def backward(context, gradient):
        return torch.zeros_like(gradient)


def rounded(x):
    return (4 * x).round() / 4


@pytest.mark.parametrize("before", [rounded, no_graph, Steps.apply], ids=["rounded", "no graph", "steps"])
def test_what_has_no_gradient_fails(robust, before):
    verdict = judge(Around(robust, before))
    found = statuses(verdict)
    assert found["gradients"] == found["growing_eps"] == verdict.status == "fail"
    assert verdict["gradients"].figures == {"zero": 1.0, "not_finite": 0.0}
    assert verdict["growing_eps"].figures["unbounded"] > 0.7


def test_what_blind_search_or_another_model_breaks_fails(standard):
    """The images are quantised finely: an attack finds no gradient, yet noise is enough to break the model."""
    model = Around(standard, lambda x: (16 * x).round() / 16)
    verdict = judge(model, threat=Linf(0.2), surrogate=standard)
    found, by_square, by_transfer = statuses(verdict), verdict["black_box"].figures, verdict["transfer"].figures
    assert found["black_box"] == found["transfer"] == "fail"
    assert by_square["white_box"] == by_transfer["white_box"] > 0.5
    assert by_square["broken"] > 0.3 and by_transfer["broken"] > 0.4


@pytest.mark.parametrize("threat", [THREAT, L2(0.5)], ids=str)
def test_gradients_that_are_not_finite_fail_and_attacks_go_on(robust, threat):
    verdict = judge(Around(robust, lambda x: x + (0 * x).sqrt()), n=20, threat=threat)
    assert verdict["gradients"].figures == {"zero": 0.0, "not_finite": 1.0}
    assert verdict["gradients"].status == verdict["growing_eps"].status == "fail"


def test_logits_times_1000_fail(robust):
    far = Linf(0.2)  # here the margin breaks most images, however rounding has changed the training
    verdict = judge(Around(robust, after=lambda logits: 1000 * logits), threat=far)
    scale = verdict["logit_scale"]
    plain = judge(robust)["logit_scale"].figures["median_gap"]
    assert_close(scale.figures["median_gap"], 1000 * plain, rtol=1e-4, atol=0)
    assert scale.status == "fail" and scale.figures["vanished"] > 0.8
    assert verdict["gradients"].status == "fail" and verdict["gradients"].figures["zero"] > 0.5
    assert verdict["losses"].status == "warn"
    assert verdict["losses"].figures["cross_entropy"] > verdict["losses"].figures["margin"] + 0.5


def test_a_cross_entropy_that_mostly_vanishes_warns(standard):
    verdict = judge(Around(standard, after=lambda logits: 6 * logits))
    scale = verdict["logit_scale"]
    assert scale.status == "warn" and scale.figures["median_gap"] < 87 and scale.figures["vanished"] > 0.6


@pytest.mark.parametrize(
    "draw", [lambda x: x + 0.2 * torch.randn_like(x), lambda x: nn.functional.dropout(x, 0.3, training=True)]
)
def test_randomness_fails_and_is_the_same_each_time(standard, draw):
    model = Around(standard, draw)
    first = judge(model, n=30)
    found = statuses(first)
    assert found["randomness"] == "fail" and found["batch_dependence"] == "skip"
    assert first["randomness"].figures["difference"] > 0.1 and first["randomness"].figures["labels_changed"] > 0
    torch.rand(1)
    before = torch.random.get_rng_state()
    assert judge(model, n=30) == first
    assert torch.equal(torch.random.get_rng_state(), before)


def test_short_attacks_that_randomness_misleads_are_outlasted(standard):
    """Noise on the input makes steps go in random directions: each restart is another chance."""
    verdict = judge(Around(standard, lambda x: x + 0.4 * torch.randn_like(x)))
    assert verdict["longer"].status == "fail"
    assert verdict["longer"].figures["pgd_20"] > verdict["longer"].figures["pgd_100"] + 0.15


def test_train_mode_warns_and_stays(robust):
    model = nn.Sequential(robust, nn.Dropout(0.0)).train()
    try:
        finding = judge(model, n=20)["train_mode"]
        assert finding.status == "warn" and finding.figures == {"batch_norm": 3.0, "dropout": 1.0}
        assert "3 batch-norm and 1 dropout layers are in train mode" in finding.reason
        assert all(module.training for module in model.modules())
    finally:
        robust.eval()


@pytest.mark.parametrize("before", [lambda x: x - x.mean(0), nn.BatchNorm2d(1, track_running_stats=False)])
def test_outputs_that_depend_on_the_batch_fail(robust, before):
    finding = judge(Around(robust, before), n=20)["batch_dependence"]
    assert finding.status == "fail" and finding.figures["difference"] > 0.01


def test_softmax_outputs_fail(robust):
    verdict = judge(Around(robust, after=lambda logits: logits.softmax(1)))
    assert verdict["softmax"].status == verdict.status == "fail" and verdict["softmax"].figures == {"share": 1.0}


def test_a_model_that_guesses_leaves_nothing_to_attack(robust):
    finding = judge(Around(robust, after=lambda logits: logits.roll(1, 1)))["growing_eps"]
    assert finding.status == "warn" and "nothing to attack" in finding.reason


class Relapsing(nn.Module):
    """Answers as for the nearest of the images if x' is between 0.15 and 0.22 away from it."""

    def __init__(self, model, images):
        super().__init__()
        self.model, self.images = model, images

    def forward(self, x):
        apart, nearest = torch.cdist(x.flatten(1), self.images.flatten(1), p=float("inf")).min(1)
        relapsed = ((apart > 0.15) & (apart < 0.22))[:, None, None, None]
        return self.model(self.images[nearest].where(relapsed, x))


def test_a_larger_eps_that_is_harder_warns(standard):
    finding = judge(Relapsing(standard, to_float(TEST.images[:100])))["growing_eps"]
    assert finding.status == "warn" and "with a larger eps" in finding.reason
    assert finding.figures["eps x 2"] > finding.figures["eps x 1"] + 0.2 and finding.figures["unbounded"] < 0.02


def test_eps_0_attacks_nothing_but_what_has_no_bound(robust):
    verdict = judge(robust, threat=Linf(0))
    assert statuses(verdict) == dict.fromkeys(NAMES[:7], "pass") | dict.fromkeys(NAMES[7:], "skip")
    figures = verdict["growing_eps"].figures
    assert list(figures) == ["clean", "eps x 1", "unbounded", "chance"] and figures["eps x 1"] == figures["clean"]
    assert "eps is 0" in verdict["losses"].reason


def test_two_images_are_evaluated_and_one_is_not(robust):
    assert len(judge(robust, n=2).findings) == len(NAMES)
    with pytest.raises(ValueError, match="at least 2 images, got n=1 of digits/test, which has 600"):
        judge(robust, n=1)
    with pytest.raises(ValueError, match="got n=200 of digits/test, which has 1"):
        judge(robust, n=200, split=TEST.first(1))


def test_a_split_smaller_than_n_is_taken_whole_in_batches_of_any_size(robust):
    whole, parts = (judge(robust, 200, split=TEST.first(10), batch_size=size) for size in (10, 4))
    assert whole.n == parts.n == 10
    for name in ("logit_scale", "gradients"):
        assert whole[name].status == parts[name].status
        assert_close(whole[name].figures, parts[name].figures, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("index", [0, 50], ids=["at once", "when it comes"])
def test_nan_logits_are_refused(robust, index):
    strange = to_float(TEST.images[index])
    spoil = Around(robust, lambda x: x.where((x != strange).flatten(1).any(1)[:, None, None, None], float("nan")))
    with pytest.raises(ValueError, match="NaN or infinite"):
        judge(spoil)


def test_a_surrogate_for_other_classes_is_refused(robust):
    with pytest.raises(ValueError, match="The model gives 3 logits, the split has 10 classes"):
        judge(robust, surrogate=nn.Sequential(nn.Flatten(), nn.Linear(64, 3)))


def test_square_is_skipped_without_its_library(robust, without):
    without("pyautoattack")
    verdict = judge(robust, n=20)
    assert verdict["black_box"].status == "skip" and "advdistill[eval]" in verdict["black_box"].reason
    assert verdict.status == "pass"


def test_a_restart_draws_anew_for_what_still_stands(robust):
    drawn = []

    class Drawing(Attack):
        def __call__(self, model, x, y, *, rng):
            drawn.append(rng.uniform(x))
            return x

    context = Context(EvaluatedModel(robust, TEST), TEST.first(6), THREAT, batch_size=6)
    among = torch.tensor([True, False, True, False, False, True])
    for again in (0, 0, 1):
        assert not (context.correct(Drawing(), among=among, again=again) & ~among).any()
    assert len(drawn[0]) == 3 and torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])


def test_a_linear_models_passes():
    layer = nn.Linear(64, 10)
    seen = passes(Context(nn.Sequential(nn.Flatten(), layer), TEST.first(5), batch_size=2))
    x = to_float(TEST.images[:5]).flatten(1)
    assert_close(seen.logits, (x @ layer.weight.T + layer.bias).detach())
    assert_close(seen.alone, seen.batched)
    assert torch.equal(seen.logits, seen.again) and torch.equal(seen.labels, TEST.labels[:5])
    assert not seen.zero.any() and not seen.not_finite.any()


def test_significance_is_the_intervals():
    # 95 % Wilson intervals begin at 0.0171 for 7 of 200 and at 0.0537 for 17 of 200
    assert [status_of_share(7, 200, 0.017, 0.05), status_of_share(7, 200, 0.018)] == ["warn", "pass"]
    assert [status_of_share(17, 200, 0.02, 0.053), status_of_share(17, 200, 0.02, 0.054)] == ["fail", "warn"]
    assert {status_of_share(0, n, 0.0) for n in range(2, 300)} == {"pass"} and status_of_share(1, 200, 0.0) == "warn"


def test_either_loss_may_mislead():
    fewer, more = torch.arange(100) < 20, torch.arange(100) < 50
    for pair in ((fewer, more), (more, fewer)):
        assert losses(*pair).status == "warn"
    assert losses(more, fewer).reason == (
        "PGD-20 on the cross-entropy leaves 50.0%, on the margin 20.0%: one of them misleads the attack."
    )


def test_a_verdict_is_its_worst_finding_and_plain_json():
    findings = [Finding(status, status, {"share": 0.5}, "because.") for status in ("skip", "pass", "warn", "fail")]
    for worst, expected in enumerate(("skip", "pass", "warn", "fail")):
        verdict = Verdict("digits/test", "Linf 0.1", 100, 0, tuple(findings[: worst + 1]))
        assert verdict.status == expected
    written = json.loads(json.dumps(verdict.to_json()))
    assert written == verdict.to_json() | {"findings": [vars(finding) for finding in findings]}
    assert written["status"] == "fail" and written["threat"] == "Linf 0.1"
    assert str(findings[2]) == "warn  warn: because."


def test_the_document_names_every_finding_and_its_example_runs(capsys):
    text = (ROOT / "docs" / "evaluation.md").read_text()
    assert re.findall(r"^\| `(\w+)` \|", text, re.M) == NAMES
    (example,) = re.findall(r"```python\n(.*?)```", text, re.S)
    made = {}
    exec(example, made)
    assert isinstance(made["verdict"], Verdict) and "growing_eps: clean" in capsys.readouterr().out
