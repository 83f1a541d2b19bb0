"""The documents' code runs, and their tables and figures agree with the package."""

import importlib
import inspect
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from dataclasses import fields
from fractions import Fraction

import pytest
import torch
import yaml
from children import PATIENCE
from conftest import ENV, ROOT

import advdistill
from advdistill import PGD, Distiller, methods, recipes
from advdistill.losses import cross_entropy
from advdistill.methods.cost import STEPS, ModulesOnDemand

README, DOCS, EXAMPLE = ROOT / "README.md", ROOT / "docs", ROOT / "examples" / "own_method.py"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
CHOICE, PAGES = DOCS / "methods.md", DOCS / "methods"
DESCRIBED = {row["name"].lstrip("+"): row for row in methods.describe()}
SECTIONS = ["Teachers", "Cost", "Batch-norm", "When", "What goes wrong", "Recipes", "Reference"]

each_method = pytest.mark.parametrize("name", methods.METHODS)


def blocks(path, language="python"):
    found = re.findall(r"^```(\w*)\n(.*?)^```$", path.read_text(), re.S | re.M)
    return [text for named, text in found if named == language]


def prose(path):
    return re.sub(r"^```.*?^```$", "", path.read_text(), flags=re.S | re.M)


def page(name):
    return PAGES / f"{name}.md"


def body(name):
    """The text of a method's page below its front matter."""
    _, front, text = page(name).read_text().split("---\n", 2)
    assert set(yaml.safe_load(front)) == {"climbs", "descends"}  # what the README's table shows
    return text.removeprefix("\n")


def section(name, title):
    """The text under a title such as `**Cost.**`, up to the next title."""
    return re.search(rf"^\*\*{title}\.\*\* *(.*?)(?=\n\n\*\*|\Z)", page(name).read_text(), re.M | re.S)[1].strip()


def numbers(text):
    """Parse `student 10, robust 1` into a dictionary; `none` gives an empty one."""
    return {role: int(count) for role, count in (part.split() for part in text.split(", ") if part != "none")}


def anchors(path):
    """The anchors that GitHub gives to the headings of a document."""
    titles = re.findall(r"^#+ (.*)$", path.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def plain(text):
    return " ".join(text.split())


def step(method, progress=1.0):
    """Count a step's passes by network, on a toy: forward, backward in the attack, backward in the losses."""
    forward, in_attack, in_losses = Counter(), Counter(), Counter()
    counted = [in_attack]

    def network(role):
        weight = torch.rand(4, 4, generator=torch.Generator().manual_seed(0)) + torch.eye(4)
        weight.requires_grad_(role == "student" or role in method.trained)

        def run(x):
            forward[role] += 1
            logits = x.flatten(1) @ weight
            if logits.requires_grad:
                logits.register_hook(lambda gradient: counted[0].update([role]))
            return logits

        return run

    x = torch.rand(2, 1, 2, 2, generator=torch.Generator().manual_seed(1))
    student, teachers = network("student"), {role: network(role) for role in method.teachers}
    batch = methods.Batch(x, torch.tensor([0, 1]), student, teachers, progress, modules=ModulesOnDemand(network))
    with torch.no_grad():
        objective = method.inner(batch)
    for _ in range(STEPS if objective else 0):
        x_adv = x.clone().requires_grad_()
        torch.autograd.grad(objective(x_adv).sum(), x_adv)
    counted[0] = in_losses
    losses = method.outer(batch.attacked(x + 0.1, student, {role: teachers[role] for role in method.trained}))
    sum(loss.mean() for loss in losses.values()).backward()
    return forward, in_attack, in_losses


def costs(name, progress=1.0):
    """Return the counts of `step`; for a term, the counts that it adds to AdaAD."""
    kind = methods.METHODS[name]
    if issubclass(kind, methods.Method):
        return [dict(counts) for counts in step(kind(), progress)]
    alone, together = step(methods.AdaAD(), progress), step(methods.AdaAD() + kind(), progress)
    return [dict(after - before) for before, after in zip(alone, together, strict=True)]


@pytest.fixture
def away(tmp_path, monkeypatch):
    """A temporary working directory, for the files that a document's code writes."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readmes_loop_runs():
    exec(blocks(README)[0], {})


@pytest.mark.parametrize("path", [p for p in DOCUMENTS[1:] if p != CHOICE and blocks(p)], ids=lambda p: p.name)
def test_the_pages_blocks_run_one_after_the_other(path, away):
    names = {"__name__": path.stem}
    for block in blocks(path):
        exec(block, names)


def test_the_page_on_own_methods_shows_the_example():
    shown = blocks(DOCS / "add_method.md")[:2]
    assert all(block in EXAMPLE.read_text() for block in shown)


def test_the_page_on_own_attacks_shows_the_example():
    example = (ROOT / "examples" / "own_attack.py").read_text()
    assert all(block in example for block in blocks(DOCS / "own_attack.md")[:3])


def test_the_example_runs(tmp_path):
    command = [sys.executable, str(EXAMPLE)]
    done = subprocess.run(command, cwd=tmp_path, env=ENV, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 0 and "pgd-20: " in done.stdout, done.stderr


def test_the_readme_is_short_and_knows_every_method():
    text = README.read_text()
    assert len(text.splitlines()) <= 150
    for name, kind in methods.METHODS.items():
        assert f"`{name}`" in text or f"`+{name}`" in text, kind


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(path):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)(?:#([^)]+))?\)", prose(path)):
        there = path.parent / target if target else path
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), anchor


def test_the_choice_links_to_a_page_of_every_method_and_there_are_no_others():
    links = re.findall(r"\[`\+?(\w+)`\]\(methods/(\w+)\.md\)", CHOICE.read_text())
    assert all(name == file for name, file in links)
    assert {name for name, _ in links} == {path.stem for path in PAGES.iterdir()} == set(methods.METHODS)


@each_method
def test_a_page_has_its_sections_in_order(name):
    text = body(name)
    assert re.match(rf"# .+: `{re.escape(DESCRIBED[name]['name'])}`\n", text)
    assert re.findall(r"^\*\*(.+?)\.\*\*", text, re.M) == SECTIONS
    assert 20 <= len(text.splitlines()) <= 45 and "](../methods.md)" in text


@each_method
def test_a_pages_equation_is_that_of_the_code(name):
    (equation,) = blocks(page(name), "text")
    for line in inspect.getdoc(methods.METHODS[name]).splitlines():
        assert not line.startswith("    ") or plain(line) in plain(equation)


@each_method
def test_a_pages_parameters_are_the_fields_with_their_defaults(name):
    rows = re.findall(r"^\| `(\w+)` \| (.+?) \| (.+?) \| (.+?) \|$", page(name).read_text(), re.M)
    shown = {field: default == "True" if default in ("True", "False") else float(Fraction(default))
             for field, _, default, _ in rows}  # fmt: skip
    assert len(rows) == len(shown)
    assert shown == {field.name: field.default for field in fields(methods.METHODS[name])}


@each_method
def test_a_pages_teachers_and_reference_are_the_codes(name):
    row = DESCRIBED[name]
    assert re.match(r"[\w, ]+", section(name, "Teachers"))[0] == row["teachers"]
    assert section(name, "Reference") == ("none" if row["reference"] == "-" else row["reference"])


@each_method
def test_a_pages_cost_is_counted(name):
    cost, (forward, in_attack, in_losses) = section(name, "Cost"), costs(name)
    shown = re.match(r"Forward: (.+?)\. Backward to the images: (.+?)\. Backward to the weights: (.+?)\.", cost)
    assert shown[1] == DESCRIBED[name]["passes"] and numbers(shown[1]) == forward
    assert numbers(shown[2]) == in_attack and numbers(shown[3]) == in_losses
    early = re.search(r"Until `begin`: (.+?)\.", cost)
    assert (numbers(early[1]) if early else forward) == costs(name, progress=0.0)[0]


def trained_passes(method, progress=1.0):
    """The names of the images on which the student runs forward in train mode, in order."""
    x = torch.full((2, 1, 2, 2), 0.5)
    names, found = {0.5: "x", 0.75: "x'", 0.25: "2x - x'", 1.0: "x + 2 (x' - x)", 0.625: "x0"}, []

    def network(images):
        return images.flatten(1) @ torch.eye(4)

    def student(images):
        found.append(names[images.flatten()[0].item()])
        return network(images)

    made = methods.Batch(x, torch.tensor([0, 1]), network, dict.fromkeys(method.teachers, network), progress,
                         modules=ModulesOnDemand(lambda name: network))  # fmt: skip
    method.inner(made)
    method.outer(made.attacked({"adv": x + 0.25, "start": x + 0.125}, student))
    return ["the attack's iterates"] * (method.student_mode == "train") + found


@each_method
def test_a_pages_passes_in_train_mode_are_the_codes(name):
    shown = re.search(r"Here: (.+?)\. (?:In the release: .+)", section(name, "Batch-norm"))[1].split(", ")
    kind = methods.METHODS[name]
    for progress in (1.0, 0.0):
        if issubclass(kind, methods.Method):
            passes = trained_passes(kind(), progress)
        else:
            passes = trained_passes(methods.AdaAD() + kind(), progress)[len(trained_passes(methods.AdaAD())):]
        late = " (from `begin` on)"
        assert passes == [one.removesuffix(late) for one in shown if progress or not one.endswith(late)]


@each_method
def test_a_page_names_the_recipes_of_its_method(name):
    def last(recipe):  # a recipe with a term is listed on the term's page
        return list(methods.to_config(recipes.load(recipe).method))[-1]

    listed = re.findall(r"`([a-z]\w*\.\w+)`", section(name, "Recipes"))
    assert sorted(listed) == sorted(recipe for recipe in recipes.names() if last(recipe) == name)


def test_the_reference_has_every_public_name_and_method():
    index, shown = (DOCS / "api" / "index.md").read_text(), (DOCS / "api" / "methods.md").read_text()
    assert set(re.findall(r"`ad\.(\w+)`", index)) == set(advdistill.__all__)
    assert all(f"::: {kind.__module__}.{kind.__name__}\n" in shown for kind in methods.METHODS.values())


def test_recipes_named_anywhere_exist():
    for path in DOCUMENTS:
        for name in re.findall(r"`((?:digits|cifar100?|tiny_imagenet)\.(?!py`)\w+)`", path.read_text()):
            recipes.load(name)


def test_the_methods_of_the_choice_train(tiny, batch):
    made = {}
    for block in blocks(CHOICE):
        exec(block, made)
    student, attack, (x, y) = tiny(0), PGD(2), batch

    by_class = Distiller(made["HardClasses"](), attack=attack)
    crafted = by_class.craft(student, x, y)
    plain_loss = cross_entropy(student(crafted.x_adv), y)
    torch.testing.assert_close(by_class.losses(crafted, student)["adv"], plain_loss)
    by_class.method.end_epoch(1.0)
    sums = torch.stack([plain_loss[y == c].sum() for c in range(4)])
    again = by_class.losses(crafted, student)["adv"]
    torch.testing.assert_close(again, (4 * sums / sums.sum())[y] * plain_loss)
    assert by_class.method.figures() == {"weight/max": pytest.approx((4 * sums.max() / sums.sum()).item())}

    along = Distiller(made["Along"](), tiny(1), attack=attack)
    along(student, x, y).backward()
    assert all(p.grad is not None for p in (*student.parameters(), *along.trained["robust"].parameters()))
    assert [along.method.parameter_group("robust", {"lr": 0.1}, progress)["lr"] for progress in (0.5, 0.6)] == [0, 1e-4]


def test_public_names_exist():
    for name in advdistill.__all__:
        assert getattr(advdistill, name) is not None and name in dir(advdistill)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        advdistill.nothing  # noqa: B018


def test_public_functions_are_functions_after_everything_is_imported():
    for module in pkgutil.walk_packages(advdistill.__path__, "advdistill."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    assert callable(advdistill.evaluate) and callable(advdistill.distill)
