"""Every form of users' data gives the results of the Split, bit for bit; unsuitable data gives a one-sentence error."""

import multiprocessing
import re
from dataclasses import replace
from types import SimpleNamespace

import datasets
import numpy as np
import pytest
import torch
from children import PATIENCE
from PIL import Image
from safetensors.torch import load_file
from torch import nn
from torch.utils.data import ConcatDataset, DataLoader, Dataset, IterableDataset, Subset, TensorDataset
from training import taught

from advdistill import Linf, evaluate
from advdistill.attacks.base import Attack
from advdistill.data import Split, as_split, load
from advdistill.data.own import stack
from advdistill.evaluation import gradient_alignment, robust_curve
from advdistill.evaluation.gradients import linearity_remainder, pointwise_distance
from advdistill.evaluation.inspection import inspect
from advdistill.evaluation.masking import gradient_masking
from advdistill.evaluation.networks import split_and_device
from advdistill.evaluation.verification import verify

SPLIT = load("digits", "test").first(60)
X, Y = SPLIT.images / 255, SPLIT.labels
CLASSES = list(SPLIT.classes)


class Pictures(Dataset):
    """A dataset like torchvision's: Pillow pictures, integer labels and the classes' names."""

    classes = CLASSES

    def __len__(self):
        return len(Y)

    def __getitem__(self, i):
        return Image.fromarray(SPLIT.images[i, 0].numpy()), int(Y[i])


class Loader:
    """Another library's loader: it has a length and is iterable, but has no items."""

    def __len__(self):
        return 3

    def __iter__(self):
        return zip(X.split(20), Y.split(20), strict=True)


class Stream(IterableDataset):
    def __iter__(self):
        return zip(X, Y, strict=True)


def hugging_face(**columns):
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=CLASSES)}
    pictures = {"image": [picture for picture, _ in map(Pictures().__getitem__, range(60))], "label": Y.tolist()}
    features = datasets.Features({name: kinds.get(name, datasets.Value("int64")) for name in pictures | columns})
    return datasets.Dataset.from_dict(pictures | columns, features=features)


FORMS = {
    "floats": lambda: (X, Y),
    "uint8": lambda: [SPLIT.images, Y],
    "float64": lambda: (X.double(), Y.to(torch.uint8)),
    "arrays": lambda: (X.numpy(), Y.numpy().astype(np.int16)),
    "big endian": lambda: (X.numpy().astype(">f8"), Y.numpy().astype(">i4")),
    "read only": lambda: (np.broadcast_to(X.numpy(), X.shape), np.frombuffer(Y.numpy().tobytes(), np.int64)),
    "backwards": lambda: (X.flip(0).numpy()[::-1], Y.tolist()),
    "columns of labels": lambda: (X, Y[:, None]),
    "with a graph": lambda: (X.clone().requires_grad_(), Y),
    "TensorDataset": lambda: TensorDataset(X, Y),
    "DataLoader": lambda: DataLoader(TensorDataset(X, Y), batch_size=17),
    "DataLoader of workers": lambda: DataLoader(TensorDataset(SPLIT.images, Y), batch_size=17, num_workers=2),
    "DataLoader of a stream": lambda: DataLoader(Stream(), batch_size=17),
    "another's loader": Loader,
    "Subset": lambda: Subset(TensorDataset(X, Y), range(60)),
    "ConcatDataset": lambda: ConcatDataset([TensorDataset(X[:7], Y[:7]), TensorDataset(X[7:], Y[7:])]),
    "list": lambda: list(zip(X, Y.tolist(), strict=True)),
    "arrays of a list": lambda: list(zip(X.numpy(), Y.numpy(), strict=True)),
    "pictures": Pictures,
    "Hugging Face": hugging_face,
    "Hugging Face as torch": lambda: hugging_face().with_format("torch"),
    "float Split": lambda: replace(SPLIT, images=X),
}
NAMED = ("pictures", "Hugging Face", "Hugging Face as torch", "float Split")

forms = pytest.mark.parametrize("form", FORMS)


@pytest.fixture(scope="module")
def model():
    return taught(20).eval()


@pytest.fixture(scope="module")
def wanted(model):
    return measured(model, SPLIT)


def measured(model, data, **options):
    return evaluate(model, data, Linf(0.1), attacks=["clean", "fgsm", "pgd-20"], batch_size=16, **options)


def counts(result):
    return [(m.attack, m.n, m.correct) for m in result.measurements]


@forms
def test_each_form_gives_the_split(form):
    made = as_split(FORMS[form](), classes=None if form in NAMED else CLASSES)
    assert made.images.dtype == torch.uint8 and torch.equal(made.images, SPLIT.images)
    assert torch.equal(made.labels, Y) and made.classes == SPLIT.classes
    assert made.fingerprint() == SPLIT.fingerprint()


@forms
def test_each_form_is_evaluated_as_the_split(form, model, wanted):
    found = measured(model, FORMS[form]())
    assert counts(found) == counts(wanted) and 0 < wanted["pgd-20"].correct < wanted["clean"].correct
    assert (found.fingerprint, found.weights) == (wanted.fingerprint, wanted.weights)


def test_what_is_not_n_255_is_measured_as_it_is():
    """One pixel v, classified correctly if v > 0.5: 0.4999 and 0.5001 round to the same n/255."""

    class Half(nn.Module):
        def forward(self, x):
            return torch.stack([torch.full((len(x),), 0.5), x.flatten(1)[:, 0]], 1)

    x, y = torch.tensor([0.4999, 0.5001, 0.2, 0.9]).view(4, 1, 1, 1), torch.ones(4, dtype=torch.long)
    loader = DataLoader(TensorDataset(x, y), batch_size=3)
    for data in ((x, y), loader, Split(x, y, ("0", "1"), "x"), list(zip(x, y, strict=True))):
        split = as_split(data)
        assert torch.equal(split.images, x) and split.images.dtype == torch.float32
        result = evaluate(Half(), data, Linf(0.0), "clean")
        assert counts(result) == [("clean", 4, 2)]
    assert split.fingerprint() != as_split((x.mul(255).round() / 255, y)).fingerprint()


def test_batches_of_both_kinds_are_joined_exactly():
    x = torch.cat([X[:20], X[20:40] * 0.9, X[40:]])
    split = as_split(DataLoader(TensorDataset(x, Y), batch_size=20))
    assert split.images.dtype == torch.float32 and torch.equal(split.images, x)


def test_an_attack_that_writes_into_its_images_leaves_the_data_alone(model):
    class Writes(Attack):
        name = "writes"

        def __call__(self, model, x, y, *, rng):
            return x.mul_(0.5)

    x = X * 0.9
    before, data = x.clone(), (x, Y)
    evaluate(model, data, Linf(1.0), attacks=[Writes()])
    assert torch.equal(x, before)


@pytest.mark.parametrize("form", ["floats", "DataLoader"])
def test_every_public_function_takes_them(form, model, tmp_path):
    other, threat = taught(5).eval(), Linf(0.1)
    calls = [
        lambda data: robust_curve(model, data, [0.05], n=30)[0.05].correct,
        lambda data: gradient_alignment(model, other, data),
        lambda data: pointwise_distance(model, other, data, threat),
        lambda data: linearity_remainder(model, data, threat),
        lambda data: [str(found) for found in gradient_masking(model, data, threat, n=20).findings],
        lambda data: inspect(model, data, threat, teacher=other, n=20).distances,
        lambda data: inspect(model, data, threat, n=20).fingerprint,
    ]
    for call in calls:
        assert call(FORMS[form]()) == call(SPLIT)


def test_a_result_is_verified_on_other_forms(model, tmp_path):
    files = tmp_path / "r.safetensors"
    result = measured(model, (X, Y), keep=files, keep_images=tmp_path / "adv")
    checked = verify(model, FORMS["DataLoader"](), result, load_file(files), tmp_path / "adv", sample=5)
    assert checked.ok and checked.breaks["pgd-20"].confirmed == result["clean"].correct - result["pgd-20"].correct


def test_it_runs_where_the_model_is():
    class Elsewhere(nn.Module):
        """A module whose parameters claim to be on a device that the test machine need not have."""

        def parameters(self, recurse=True):
            return iter([SimpleNamespace(device=torch.device("cuda:1"))])

    assert split_and_device(Elsewhere(), SPLIT, None)[1] == torch.device("cuda:1")
    assert split_and_device(nn.Flatten(), SPLIT, None)[1] == torch.device("cpu")
    assert split_and_device(Elsewhere(), SPLIT, "cpu")[1] == torch.device("cpu")


def test_a_model_without_values_is_at_no_place():
    """On the meta device there is nothing to compute with, whatever device is asked for."""
    on_meta = nn.Sequential(nn.Flatten(), nn.Linear(64, 10)).to("meta")
    for device in (None, "cpu", "meta"):
        with pytest.raises(ValueError, match="The model has no values: its '1.weight' is on the meta device"):
            split_and_device(on_meta, SPLIT, device)


# Names


def test_classes_are_the_datas_or_else_the_models(model):
    part = (X[Y < 7], Y[Y < 7])
    assert as_split(part).classes == tuple("0123456")
    assert evaluate(model, part, Linf(0.0), "clean").measurements[0].n == len(part[0])  # ten logits
    named = Subset(Pictures(), range(5))
    assert as_split(named).classes == as_split(DataLoader(named, collate_fn=tensors)).classes == SPLIT.classes
    assert as_split((X, Y), classes=12).num_classes == 12
    assert as_split((X, Y), name="mine/test").name == "mine/test"


def test_a_subsets_names_that_do_not_reach_its_labels_are_not_used():
    class Few(Pictures):
        classes = ["zero", "one"]

    assert as_split(Few()).classes == tuple("0123456789")


def tensors(rows):
    return torch.stack([torch.from_numpy(np.array(picture))[None] for picture, _ in rows]), [y for _, y in rows]


def test_names_say_what_it_is():
    names = {form: as_split(FORMS[form]()).name for form in FORMS}
    assert names["floats"] == "(x, y)" and names["TensorDataset"] == names["DataLoader"] == "TensorDataset"
    assert names["pictures"] == "Pictures" and names["Hugging Face"] == "Dataset/all"
    assert names["float Split"] == SPLIT.name


def test_a_split_is_left_alone():
    assert as_split(SPLIT) is SPLIT
    assert as_split(SPLIT, name="other").name == "other"


# Draws


class Noisy(Dataset):
    """A dataset whose transform draws from torch's global generator."""

    def __len__(self):
        return 60

    def __getitem__(self, i):
        return X[i] * torch.rand(1), Y[i]


@pytest.mark.parametrize("workers", [0, 2])
def test_draws_are_the_same_each_time_and_leave_the_generator_alone(workers):
    def loader():
        return DataLoader(Noisy(), batch_size=16, shuffle=True, num_workers=workers)

    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = as_split(loader())
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    assert as_split(loader()).fingerprint() == first.fingerprint()
    assert first.labels.tolist() != Y.tolist() and sorted(first.labels.tolist()) == sorted(Y.tolist())
    for image, label in zip(first.images, first.labels, strict=True):  # images and labels still match
        k = [i for i in range(60) if torch.allclose(X[i] * image.max() / X[i].max(), image, atol=1e-6)]
        assert label in Y[k]


def test_a_shuffled_loader_is_resumed_and_another_order_is_refused(model, tmp_path):
    def loader(seed=None):
        drawn = None if seed is None else torch.Generator().manual_seed(seed)
        return DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, generator=drawn)

    first = measured(model, loader(), keep=tmp_path / "a")
    assert counts(measured(model, loader(), keep=tmp_path / "a")) == counts(first)
    measured(model, loader(0), keep=tmp_path / "b")
    with pytest.raises(ValueError, match=r"unfinished evaluation of another kind \(fingerprint differ\)"):
        measured(model, loader(1), keep=tmp_path / "b")


def share(rank, folder, seeds):
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    drawn = None if seeds is None else torch.Generator().manual_seed(seeds[rank])
    loader = DataLoader(TensorDataset(X, Y), batch_size=16, shuffle=True, generator=drawn)
    try:
        said = str(counts(measured(taught(20).eval(), loader, shared=True)))
    except ValueError as error:
        said = str(error)
    (folder / f"{rank}.txt").write_text(said)
    torch.distributed.destroy_process_group()


@pytest.mark.parametrize("seeds", [None, (1, 1), (1, 2)], ids=str)
def test_processes_that_share_an_evaluation_must_have_the_same_order(seeds, tmp_path):
    workers = [multiprocessing.get_context("fork").Process(target=share, args=(r, tmp_path, seeds)) for r in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(PATIENCE)
    first, second = ((tmp_path / f"{rank}.txt").read_text() for rank in (0, 1))
    assert first == second
    if seeds == (1, 2):
        assert "were given different images, or another order of them" in first
    else:
        assert "('clean', 60," in first


# What does not fit


def dictionaries(rows):
    return {"image": X[: len(rows)], "label": Y[: len(rows)]}


def sizes():
    return [(X[0], 0), (torch.rand(1, 8, 9), 1)]


WRONG = {
    "0..255": (lambda: (X * 255, Y), ValueError, r"must lie in \[0, 1\]; these span \[0, 255\]. Divide them by 255"),
    "normalised": (lambda: ((X - 0.5) / 0.25, Y), ValueError, r"these span \[-2, 2\]. Leave normalisation to the mod"),
    "overshot": (lambda: (X * 1.02 - 0.01, Y), ValueError, r"Clamp them: images.clamp\(0, 1\)"),
    "0..65535": (lambda: (X * 65535, Y), ValueError, r"span \[0, 6.55e\+04\]. Scale them"),
    "NaN": (lambda: (X.clone().index_fill_(0, torch.tensor(3), torch.nan), Y), ValueError, "pixels are NaN or infin"),
    "a Split of them": (lambda: replace(SPLIT, images=X * 255), ValueError, "digits/test: .* Divide them by 255"),
    "NHWC": (lambda: (torch.rand(60, 8, 8, 3), Y), ValueError, r"channels last; .* images.permute\(0, 3, 1, 2\)"),
    "NHW": (lambda: (X[:, 0], Y), ValueError, r"\[60, 8, 8\] have no axis of channels; .* images\[:, None\]"),
    "flat": (lambda: (X.flatten(1), Y), ValueError, r"images must be \[N, C, H, W\], got shape \[60, 64\]"),
    "int64": (lambda: (SPLIT.images.long(), Y), ValueError, "images are int64; expected uint8 from 0 to 255"),
    "text": (lambda: (np.array([["a"]]), Y), ValueError, "images must be a tensor or an array of numbers, got an arr"),
    "objects": (lambda: (X, [None] * 60), ValueError, "labels must be a tensor or an array of numbers, got list"),
    "too large": (lambda: Split(SPLIT.images, Y + 1, tuple(CLASSES), "d"), ValueError, r"must lie in 0\.\.9; .* 10 at"),
    "negative": (lambda: (X, Y - 1), ValueError, r"\(x, y\): labels must lie in 0\.\.\d; this split has -1 at index"),
    "float labels": (lambda: (X, Y.float()), ValueError, r"labels are float32; expected whole numbers.*labels.long"),
    "one-hot": (lambda: (X, nn.functional.one_hot(Y)), ValueError, r"\[60, 10\] seem to be one-hot.*labels.argmax"),
    "one label": (lambda: (X, torch.tensor(3)), ValueError, r"labels must be \[N\], one for each image, got shape"),
    "count": (lambda: (X, Y[:-1]), ValueError, "60 images but 59 labels"),
    "empty": (lambda: (X[:0], Y[:0]), ValueError, r"there are no images; their shape is \[0, 1, 8, 8\]"),
    "empty loader": (lambda: DataLoader(TensorDataset(X[:0], Y[:0])), ValueError, "TensorDataset: there are no images"),
    "empty list": (lambda: [], ValueError, r"list yields 0 element\(s\); expected two, images and labels"),
    "alone": (lambda: DataLoader(X), ValueError, r"DataLoader yields 1 element\(s\), which leaves no labels"),
    "alone in a tuple": (lambda: TensorDataset(X), ValueError, r"TensorDataset yields 1 element\(s\), which leaves no"),
    "three": (lambda: DataLoader(TensorDataset(X, Y, Y)), ValueError, r"DataLoader yields 3 element\(s\); expected"),
    "dictionaries": (lambda: DataLoader(Pictures(), 9, collate_fn=dictionaries), ValueError,
                     r"yields dictionaries \(image, label\); expected \(images, labels\)"),
    "single images": (lambda: DataLoader(TensorDataset(X, Y), batch_size=None), ValueError, "have no axis of channels"),
    "sizes": (lambda: DataLoader(sizes(), 2), ValueError, "DataLoader: its images differ in size. Resize them to one"),
    "sizes of batches": (lambda: DataLoader(sizes(), 1), ValueError, "differ in size, from 1 x 8 x 8 to 1 x 8 x 9"),
    "sizes of a list": (sizes, ValueError, "list: its images differ in size, from 1 x 8 x 8 to 1 x 8 x 9"),
    "pictures in a loader": (lambda: DataLoader(Pictures(), 9), ValueError, "cannot make batches of pictures. Make"),
    "other images": (lambda: [("a.png", 0)], ValueError, "has an image of type str; expected a tensor"),
    "32 bits": (lambda: [(Image.new("F", (4, 4)), 0)], ValueError, "cannot be read: pixels of 32 bits, expected 8"),
    "flat images": (lambda: [(X[0, 0], 0)], ValueError, r"has an image of shape \[8, 8\]; expected \[C, H, W\]"),
    "generator": (lambda: ((x, y) for x, y in zip(X, Y, strict=True)), TypeError, "a generator; .* in a DataLoader"),
    "stream": (Stream, TypeError, "a Stream; expected .* It has no length: put its dataset in a DataLoader"),
    "name": (lambda: "cifar10", TypeError, r"'cifar10' is a name, .* ad.data.load\('cifar10', 'test'\)"),
    "model": (lambda: nn.Sequential(nn.Flatten()), TypeError, "a model, Sequential; .* Were model and data swapped"),
    "dictionary": (lambda: {"x": X, "y": Y}, TypeError, "a dict with the keys x, y; expected a Split"),
    "tensor": (lambda: X, TypeError, "The data are one Tensor, without labels"),
    "number": (lambda: 5, TypeError, "The data are a int; expected a Split"),
    "DatasetDict": (lambda: datasets.DatasetDict(train=hugging_face(), test=hugging_face()), TypeError,
                    r"several splits: train, test. Give one of them: data\['train'\]"),
    "streaming": (lambda: hugging_face().to_iterable_dataset(), TypeError, "Load it without streaming=True"),
    "two labels": (lambda: hugging_face(label2=[0] * 60).rename_column("label", "label1").cast_column(
        "label2", datasets.ClassLabel(names=CLASSES)), ValueError,
        "several columns that may be the labels: label1, label2. Keep one"),
    "no images": (lambda: hugging_face().remove_columns("image"), ValueError, "has no column of images; give one"),
    "transform": (lambda: hugging_face().with_transform(lambda rows: rows), ValueError, "has a transform of its own"),
}  # fmt: skip


@pytest.mark.parametrize("what", WRONG)
def test_what_does_not_fit_is_a_sentence(what, model):
    make, kind, message = WRONG[what]
    with pytest.raises(kind, match=message) as raised:
        evaluate(model, make(), Linf(0.1), "pgd-20")
    assert "\n" not in str(raised.value) and re.search(r"[.?)]$", str(raised.value))


def test_labels_beyond_the_models_classes(model):
    with pytest.raises(ValueError, match=r"labels must lie in 0\.\.9; this split has 10 at index"):
        evaluate(model, (X, Y + 1), Linf(0.1), "clean")


def test_a_model_that_does_not_fit_says_so_whatever_the_data(model):
    with pytest.raises(ValueError, match=r"The model cannot take images of shape \(3, 8, 8\) \(\(x, y\)\)"):
        evaluate(model, (torch.rand(20, 3, 8, 8), Y[:20]), Linf(0.1), "clean")
    with pytest.raises(ValueError, match=r"The model must return logits \[B, K\], it returns shape \[2, 1, 8, 8\]"):
        evaluate(nn.Identity(), (X, Y), Linf(0.1), "clean")


# Hugging Face


def test_columns_are_known_by_their_types_and_names():
    plain = hugging_face().cast_column("label", datasets.Value("int32"))
    assert as_split(plain).classes == tuple("0123456789") and torch.equal(as_split(plain).labels, Y)
    more = hugging_face(row=list(range(60)), group=[0] * 60)  # one column is called label
    assert as_split(more).fingerprint() == SPLIT.fingerprint()
    other = hugging_face().rename_columns({"image": "photo", "label": "digit"})
    assert as_split(other).fingerprint() == SPLIT.fingerprint()
    several = hugging_face().add_column("photo", [None] * 60).cast_column("photo", datasets.Image())
    assert as_split(several).fingerprint() == SPLIT.fingerprint()  # one column is called image


def test_grey_pictures_among_coloured_ones_become_coloured():
    grey, red = Image.new("L", (4, 4), 7), Image.new("RGB", (4, 4), (255, 0, 0))
    split = as_split([(grey, 0), (red, 1)])
    assert split.shape == (3, 4, 4) and split.images[:, :, 0, 0].tolist() == [[7, 7, 7], [255, 0, 0]]
    late = as_split([(grey, 0)] * 256 + [(red, 1)])
    assert late.shape == (3, 4, 4) and late.images[[0, 256], :, 0, 0].tolist() == [[7, 7, 7], [255, 0, 0]]


def test_more_than_the_memory_holds_is_refused(monkeypatch):
    monkeypatch.setattr(stack, "free_memory", lambda: 100)
    with pytest.raises(ValueError, match=r"TensorDataset needs 0.0 GB, and 0.0 GB of memory are free"):
        as_split(DataLoader(TensorDataset(X, Y), batch_size=8))
