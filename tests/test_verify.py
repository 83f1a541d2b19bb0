"""`verify` on records, mostly made by hand: a sound record passes, and each way to tamper with one is found."""

from dataclasses import replace

import pytest
import torch
from conftest import linear
from safetensors.torch import load_file, save_file
from torch import nn

from advdistill import Linf, Result, evaluate
from advdistill.attacks import PGD
from advdistill.data import Split
from advdistill.data.batches import to_float
from advdistill.evaluation.context import Context
from advdistill.evaluation.verification import verify
from advdistill.evaluation.verification.findings import Clean, Survivors
from advdistill.losses import cross_entropy, margin
from advdistill.models.digest import digest
from advdistill.results.result import Measurement, wilson
from advdistill.threat import L2

BATCH = 25


def made() -> tuple[Split, nn.Module]:
    """Noise images, brighter in the row of their class, and a model that errs on some of them."""
    rng = torch.Generator().manual_seed(0)
    labels = torch.randint(0, 3, (60,), generator=rng)
    images = torch.randint(0, 206, (60, 1, 4, 4), generator=rng)
    images[range(60), 0, labels] += 50
    split = Split(images.to(torch.uint8), labels, ("a", "b", "c"), "made/test")
    return split, linear(to_float(split.images), labels, 3)


class Record:
    """A result on the first 50 images with its verdicts and images; the attack is PGD-20, or a weaker one."""

    def __init__(self, folder, threat=Linf(0.06), steps=20):  # noqa: B008
        self.split, self.model = made()
        self.images, self.threat = folder / "x.adv", threat
        self.images.mkdir()
        x, y = to_float(self.split.images[:50]), self.split.labels[:50]
        attack = PGD(steps, threat.eps / 4, threat, "none")
        self.x_adv = attack(lambda z: cross_entropy(self.model(z), y), x)
        right = {"clean": self.model(x).argmax(1) == y, "pgd": self.model(self.x_adv).argmax(1) == y}
        self.verdicts = {name: flags.to(torch.uint8) for name, flags in right.items()}
        self.broken = (right["clean"] & ~right["pgd"]).nonzero()[:, 0]
        for start in (0, 25):
            index = self.broken[(start <= self.broken) & (self.broken < start + 25)]
            save_file({"index": index, "x_adv": self.x_adv[index]}, self.file(start))
        self.result = self.counted()

    def counted(self) -> Result:
        """Return a result with the counts of the current verdicts."""
        measured = (Measurement(name, "", 50, int(flags.sum()), 1.0) for name, flags in self.verdicts.items())
        return Result(
            "linear", "made/test", self.split.fingerprint(), str(self.threat), self.threat.eps, 0, tuple(measured),
            "2026-01-01", {}, digest(self.model),
        )  # fmt: skip

    def file(self, start):
        return self.images / f"pgd.{start:06d}.safetensors"

    def rewrite(self, start, change):
        """Change the tensors of one file of images."""
        tensors = load_file(self.file(start))
        change(tensors)
        save_file(tensors, self.file(start))

    def verify(self, **changes):
        given = {"model": self.model, "data": self.split, "result": self.result, "verdicts": self.verdicts}
        return verify(**(given | {"images": self.images, "sample": 0, "batch_size": 10} | changes))


@pytest.fixture
def record(tmp_path):
    return Record(tmp_path)


@pytest.mark.parametrize("threat", [Linf(0.06), L2(0.2)], ids=str)
def test_a_sound_record_passes(tmp_path, threat):
    record = Record(tmp_path, threat)
    found = record.verify()
    breaks, n, right = found.breaks["pgd"], len(record.broken), record.result["clean"].correct
    assert 5 < n < 45 and (breaks.counted, breaks.confirmed) == (n, n)
    assert found.clean.n == 50 and n < right < 50
    assert found.ok and found.unverified == 0
    assert found.lines() == [
        f"linear on made/test, {threat}",
        "clean: 50 of 50 verdicts confirmed.",
        f"pgd: {n} of {n} breaks confirmed: inside eps, and really wrong.",
        "Every counted verdict is confirmed.",
    ]


def darker_than_black(record):
    x = to_float(record.split.images[record.broken[0]])
    assert x.min() < record.threat.eps - 1e-3  # no farther than eps
    record.rewrite(0, lambda tensors: tensors["x_adv"][0].view(-1)[x.argmin()].fill_(-5e-7))


def no_number(record):
    record.rewrite(25, lambda tensors: tensors["x_adv"][1].view(-1)[3].fill_(float("nan")))


def classified_right(record):
    x = to_float(record.split.images)
    record.rewrite(0, lambda tensors: tensors["x_adv"][1].copy_(x[tensors["index"][1]]))


@pytest.mark.parametrize(("tamper", "name", "said"), [
    (darker_than_black, "outside", "pgd: WRONG, breaks outside eps or the pixel range: 1."),
    (no_number, "outside", "pgd: WRONG, breaks outside eps or the pixel range: 1."),
    (classified_right, "not_wrong", "pgd: WRONG, breaks that are classified correctly: 1."),
])  # fmt: skip
def test_an_image_that_breaks_nothing_is_found(record, tamper, name, said):
    tamper(record)
    found = record.verify()
    breaks = found.breaks["pgd"]
    assert getattr(breaks, name) == 1 and breaks.confirmed == breaks.counted - 1 == len(record.broken) - 1
    assert not found.ok and said in found.lines() and found.lines()[-1].startswith("The result is wrong")


@pytest.mark.parametrize(("by", "outside"), [(5e-7, False), (5e-6, True)])
def test_up_to_a_millionth_outside_is_rounding(record, by, outside):
    x, count = to_float(record.split.images), len(load_file(record.file(0))["index"])

    def stretch(tensors):
        moved, x_adv = tensors["x_adv"] - x[tensors["index"]], tensors["x_adv"]
        x_adv += by * (moved.abs() > 0.0599) * moved.sign() * (x_adv > 0.01) * (x_adv < 0.99)

    record.rewrite(0, stretch)
    found = record.verify()
    assert found.breaks["pgd"].outside == (count if outside else 0) and found.ok != outside


def test_verdicts_that_count_otherwise_than_the_result_are_refused(record):
    record.verdicts["pgd"][record.broken[0]] = 1
    stand = record.result["pgd"].correct
    said = f"{stand} of 50 images are classified correctly under pgd, by its verdicts {stand + 1}"
    with pytest.raises(ValueError, match=said):
        record.verify()


def test_a_flipped_verdict_that_is_counted_is_contradicted_by_its_own_image(record):
    record.verdicts["pgd"][record.broken[0]] = 1
    found = record.verify(result=record.counted())
    breaks = found.breaks["pgd"]
    assert breaks.contradicted == 1
    assert breaks.counted == breaks.confirmed == len(record.broken) - 1
    assert not found.ok


def test_a_break_that_was_made_up_has_no_image(record):
    record.verdicts["pgd"][record.verdicts["pgd"].nonzero()[0]] = 0
    found = record.verify(result=record.counted())
    assert found.breaks["pgd"].missing == 1 and found.breaks["pgd"].confirmed == len(record.broken)
    assert "pgd: Unverified, breaks without an adversarial image: 1." in found.lines()
    assert found.ok and found.lines()[-1] == "No verdict is wrong, but 1 are unverified."


@pytest.mark.parametrize("to", [0, 1])
def test_a_flipped_clean_verdict_is_found(record, to):
    place = (record.verdicts["clean"] != to).nonzero()[0]
    record.verdicts["clean"][place] = to
    found = record.verify(result=record.counted())
    assert found.clean.differ == 1 and not found.ok
    assert "clean: WRONG, verdicts that are not this model's: 1." in found.lines()


def test_missing_images_are_unverified(record):
    there = len(load_file(record.file(25))["index"])
    record.file(0).unlink()
    found = record.verify()
    breaks = found.breaks["pgd"]
    assert (breaks.confirmed, breaks.missing) == (there, len(record.broken) - there) and breaks.missing > 0
    assert found.ok and found.unverified == breaks.missing
    elsewhere = record.verify(images=record.images / "nowhere").breaks["pgd"]
    assert (elsewhere.confirmed, elsewhere.missing) == (0, len(record.broken))


def test_images_of_an_attack_with_a_longer_name_are_left_alone(record):
    save_file({"index": torch.tensor([0])}, record.images / "pgd-trades.000000.safetensors")
    (record.images / "notes.txt").write_text("mine")
    assert record.verify().ok


class Shifted(nn.Module):
    """The model with a first logit raised by `by` times the largest absolute logit, which decides near ties."""

    def __init__(self, network, by: float):
        super().__init__()
        self.network, self.by = network, by

    def forward(self, x):
        logits = self.network(x)
        return logits + self.by * logits.abs().amax(1, keepdim=True) * torch.tensor([1.0, 0.0, 0.0])


@pytest.mark.parametrize(("by", "undecided"), [(5e-6, True), (5e-5, False)])
def test_a_tie_is_left_undecided(tmp_path, by, undecided):
    # an image on the boundary: its x' equals x, and the model's verdict on both is a matter of rounding
    x = torch.zeros(2, 1, 4, 4, dtype=torch.uint8)
    split = Split(x, torch.tensor([0, 1]), ("a", "b", "c"), "made/test")
    model = Shifted(Level(), by)
    measured = (Measurement("clean", "", 2, 2, 1.0), Measurement("pgd", "", 2, 1, 1.0))
    result = Result("m", "made/test", split.fingerprint(), "Linf 0.1", 0.1, 0, measured, "", {}, digest(model))
    verdicts = {"clean": torch.tensor([1, 1]).byte(), "pgd": torch.tensor([0, 1]).byte()}
    save_file({"index": torch.tensor([0]), "x_adv": torch.zeros(1, 1, 4, 4)}, tmp_path / "pgd.000000.safetensors")
    found = verify(model, split, result, verdicts, tmp_path, sample=0)
    assert (found.breaks["pgd"].undecided, found.breaks["pgd"].not_wrong) == ((1, 0) if undecided else (0, 1))
    assert (found.clean.undecided, found.clean.differ) == ((1, 0) if undecided else (0, 1))
    assert found.ok == undecided and found.unverified == (2 if undecided else 0)


class Level(nn.Module):
    """The first two logits are equal and the largest, for every image."""

    def forward(self, x):
        return torch.tensor([1.0, 1.0, 0.0]) + 0 * x.flatten(1).sum(1, keepdim=True)


def test_what_belongs_to_something_else_is_refused(record):
    other = linear(torch.rand(9, 1, 4, 4), torch.arange(9) % 3, 3)
    with pytest.raises(ValueError, match=f"of weights {digest(record.model)}, this model has {digest(other)}"):
        record.verify(model=other)
    with pytest.raises(ValueError, match=r"these images are made/test \(.*Give the whole split"):
        record.verify(data=record.split.first(50))
    with pytest.raises(ValueError, match="threat model is Linf 0.06, its eps 0.1"):
        record.verify(result=replace(record.result, eps=0.1))
    with pytest.raises(ValueError, match="Unknown norm 'L1'"):
        record.verify(result=replace(record.result, threat="L1 0.06"))
    with pytest.raises(ValueError, match="on the same images; it has none"):
        record.verify(result=replace(record.result, measurements=()))
    with pytest.raises(ValueError, match="sample of survivors must be 0 or more, got -1"):
        record.verify(sample=-1)


@pytest.mark.parametrize("flags", [None, torch.ones(49).byte(), torch.ones(50), torch.full((50,), 255).byte()])
def test_verdicts_that_are_not_the_results_are_refused(record, flags):
    verdicts = {"clean": record.verdicts["clean"]} | ({} if flags is None else {"pgd": flags})
    with pytest.raises(ValueError, match="For pgd there must be 50 verdicts, uint8, 0 or 1"):
        record.verify(verdicts=verdicts)


def test_damaged_images_are_explained(record):
    file = record.file(25)
    whole, tensors = file.read_bytes(), load_file(file)
    file.write_bytes(whole[:-20])
    with pytest.raises(ValueError, match=r"pgd.000025.safetensors is damaged.*Get it again"):
        record.verify()
    bad = [
        {"index": tensors["index"] + 30},
        {"index": tensors["index"].int()},
        {"index": tensors["index"][1:]},
        {"x_adv": tensors["x_adv"].half()},
        {"x_adv": tensors["x_adv"].reshape(-1, 1, 2, 8)},
    ]
    for change in bad:
        save_file(tensors | change, file)
        with pytest.raises(ValueError, match=r"expected index int64 \[k\] and x_adv float32 \[k, 1, 4, 4\]"):
            record.verify()


def test_survivors_that_another_attack_breaks_are_reported(tmp_path):
    record = Record(tmp_path, steps=1)  # one step of eps / 4: images and claim are correct, but the attack is weak
    found = record.verify(sample=1000)
    survivors = found.survivors
    y = record.split.labels[:50]
    left = record.verdicts["pgd"].bool()
    x = to_float(record.split.images[:50])
    weight = record.model[1].weight
    pairs = weight[y][:, None] - weight[None]  # a linear model's worst x' in the ball is known, except for the box
    lead = (record.model(x).gather(1, y[:, None]) - record.model(x)) - 0.06 * pairs.abs().sum(2)
    lead[range(50), y] = float("inf")
    assert survivors.remaining == survivors.sampled == int(left.sum()) and survivors.n == 50
    assert 3 < survivors.newly_broken <= int((left & (lead.amin(1) < 0)).sum())
    assert survivors.lower == (survivors.newly_broken / 50,) * 3  # all were attacked: there is no sampling error
    assert found.ok
    (line,) = [line for line in found.lines() if "fell to PGD-100" in line]
    broken = f"{survivors.newly_broken} of {survivors.sampled} survivors of pgd"
    assert line.startswith(f"{broken} fell to PGD-100: this lowers")


def test_the_sample_is_drawn_from_the_survivors_of_the_strongest_attack(tmp_path):
    record = Record(tmp_path, steps=1)
    record.verdicts = {"weak": record.verdicts["clean"], "pgd": record.verdicts["pgd"]}
    lines = []
    found = record.verify(result=record.counted(), sample=8, report=lines.append)
    assert found.clean is None and found.breaks["weak"].counted == 0
    standing = int(record.verdicts["pgd"].sum())
    assert (found.survivors.attack, found.survivors.remaining, found.survivors.sampled) == ("pgd", standing, 8)
    assert found.survivors == record.verify(result=record.counted(), sample=8).survivors
    assert lines[-1] == f"pgd: attacking 8 of {standing} survivors with PGD-100"


def test_whatever_either_loss_breaks_fell(record, monkeypatch):
    calls = []

    def breaks_one(context, attack, *, among, again):
        calls.append((attack.pgd.steps, attack.loss, again))
        left = among.clone()
        left[among.nonzero()[0]] = False
        return left

    monkeypatch.setattr(Context, "correct", breaks_one)
    assert record.verify(sample=8).survivors.newly_broken == 2
    assert calls == [(100, cross_entropy, 1), (100, margin, 1)]


def test_without_survivors_nothing_is_attacked(record):
    assert record.verify().survivors is None
    record.verdicts["pgd"].zero_()
    assert record.verify(result=record.counted(), sample=9).survivors is None


def test_by_how_much_the_accuracy_is_lower():
    survivors = Survivors("autoattack", "PGD-100", 1000, 500, 64, 4)
    low, high = wilson(4, 64)
    assert survivors.lower == pytest.approx((500 / 1000 * 4 / 64, 0.5 * low, 0.5 * high))
    assert str(survivors) == (
        "4 of 64 survivors of autoattack fell to PGD-100: this lowers its accuracy on all images by about 3.1% "
        "(95 % interval 1.2% to 7.5%)."
    )
    none = replace(survivors, newly_broken=0)
    assert str(none).startswith("0 of 64 survivors") and "about 0.0% (95 % interval 0.0% to 2.8%)" in str(none)


def evaluated(folder, model, split, threat, suite, **options):
    """Run `evaluate`; return its result and saved files as the arguments of `verify`."""
    keep, images = folder / "v.safetensors", folder / "v.adv"
    kept = {"n": 50, "batch_size": 20, "keep": keep, "keep_images": images}
    result = evaluate(model, split, threat, suite, **kept | options)
    return model, split, result, load_file(keep), images


def test_a_record_of_evaluate_passes(tmp_path):
    found = verify(*evaluated(tmp_path, *reversed(made()), Linf(0.06), "paper"), sample=10)
    assert found.ok and found.unverified == 0
    assert set(found.breaks) == {"fgsm", "pgd-20", "pgd-20-trades", "cw-30"}
    assert all(one.confirmed == one.counted > 5 for one in found.breaks.values())
    assert found.survivors.sampled == 10


class NeedsImages(nn.Sequential):
    """Like many networks, this one does not accept an empty batch."""

    def forward(self, x):
        return super().forward(x.view(len(x), -1))


def test_batches_in_which_nothing_broke_leave_empty_files(tmp_path):
    split, model = made()
    record = evaluated(tmp_path, NeedsImages(model), split, Linf(0), "clean,cw-30")
    assert len(load_file(record[-1] / "cw-30.000000.safetensors")["index"]) == 0
    found = verify(*record)
    assert found.ok and found.breaks["cw-30"].counted == 0 and found.survivors is None


def test_survivors_of_a_transferred_attack_fall_and_no_verdict_is_wrong(tmp_path):
    split, model = made()
    stranger = linear(to_float(split.images), split.labels.flip(0), 3)
    record = evaluated(tmp_path, model, split, Linf(0.06), "clean,transfer-cw-30", surrogate=stranger)
    strong = evaluate(model, split, Linf(0.06), "cw-30", n=50)["cw-30"].correct
    found = verify(*record, sample=50)
    assert found.ok and found.survivors.attack == "transfer-cw-30"
    assert found.survivors.newly_broken >= found.survivors.remaining - strong > 0


@pytest.mark.parametrize("suite", ["clean,cw-30", "cw-30"])
def test_a_record_of_two_classes_with_or_without_clean_verdicts(suite, tmp_path):
    split, _ = made()
    split = replace(split, labels=split.labels % 2, classes=("a", "b"))
    model = linear(to_float(split.images), split.labels, 2)
    found = verify(*evaluated(tmp_path, model, split, Linf(0.06), suite), sample=8)
    assert found.ok and found.unverified == 0 and found.breaks["cw-30"].confirmed > 0
    assert (found.clean is None) == (suite == "cw-30")


def test_brighter_than_white_is_outside(record):
    x = to_float(record.split.images)

    def brighten(tensors):
        pixels = x[tensors["index"]].flatten(1)
        image = pixels.amax(1).argmax()
        assert pixels[image].max() > 1 - record.threat.eps  # no farther than eps
        tensors["x_adv"][image].view(-1)[pixels[image].argmax()] = 1 + 5e-7

    record.rewrite(0, brighten)
    assert record.verify().breaks["pgd"].outside == 1


def test_a_place_below_0_is_refused(record):
    record.rewrite(0, lambda tensors: tensors["index"].sub_(51))
    with pytest.raises(ValueError, match="has no adversarial images of the 50 images"):
        record.verify()


def test_an_image_said_to_be_right_when_clean_needs_its_own_x_adv(record):
    record.verdicts["clean"][(record.verdicts["clean"] == 0).nonzero()[0]] = 1
    assert record.verify(result=record.counted()).breaks["pgd"].missing == 1


def test_the_sample_is_drawn_at_random(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(Context, "correct", lambda self, *rest, among, **more: drawn.append(among) or among)
    record = Record(tmp_path, steps=1)
    record.verify(sample=8)
    left = record.verdicts["pgd"].nonzero()[:, 0]
    places = drawn[0].nonzero()[:, 0]
    assert len(places) == 8 and set(places.tolist()) < set(left.tolist()) and not torch.equal(places, left[:8])
    record.verify(sample=8)
    record.verify(sample=8, result=replace(record.result, seed=1))
    assert torch.equal(drawn[0], drawn[2]) and not torch.equal(drawn[0], drawn[4])


def test_a_difference_by_rounding_is_undecided_and_not_wrong():
    found = Clean(n=10, differ=0, undecided=3)
    lines = ["7 of 10 verdicts confirmed.", "Undecided, by no more than rounding: 3."]
    assert found.ok and list(found.lines()) == lines
