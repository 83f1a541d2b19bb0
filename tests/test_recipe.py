from dataclasses import replace

import pytest

from advdistill import IGDM, PGD, AdaAD, Linf, Recipe, recipes


def test_yaml_is_pleasant_to_write():
    text = """
        method: adaad+igdm
        attack: {steps: 7, step_size: 2/255, threat: {linf: 8/255}}
        optimizer: {lr: 0.05, weight_decay: 5e-4}
        schedule: {milestones: [100, 150]}
        teacher: file:t.pt
    """
    recipe = Recipe.from_yaml(text)
    assert recipe.attack == PGD(7, "2/255", Linf("8/255")) and recipe.optimizer.weight_decay == 5e-4
    assert recipe.method == AdaAD() + IGDM() and recipe.schedule.milestones == (100, 150)


def test_a_file_is_a_recipe(tmp_path):
    recipe = replace(recipes.load("digits.rslad"), epochs=3)
    recipe.save(tmp_path / "mine.yaml")
    assert recipes.load(str(tmp_path / "mine.yaml")) == recipe


@pytest.mark.parametrize(("text", "message"), [
    ("method: rslda", "Unknown method 'rslda'. Did you mean 'rslad'"),
    ("epoch: 3", "Unknown field of recipe 'epoch'. Did you mean 'epochs'"),
    ("optimizer: {lrate: 1}", "Unknown field of recipe: optimizer 'lrate'"),
    ("epochs: ten", "recipe: epochs cannot be 'ten': str is not an instance of int"),
    ("epochs: 0", "epochs must lie between 1 and 1e"),
    ("optimizer: {lr: -1}", "optimizer.lr must lie between 0 and 100, got -1"),
    ("optimizer: {lr: .nan}", "optimizer.lr must lie between 0 and 100, got nan"),
    ("data: {validation: 0.9}", "data.validation must lie between 0.001 and 0.5, got 0.9"),
    ("data: {validation: 0.0}", "data.validation must lie between 0.001 and 0.5, got 0"),
    ("data: digits", "recipe: data must hold fields"),
    ("attack: {threat: {linf: 8}}", r"eps must lie in \[0, 1\].*Did you mean '8/255'"),
    ("attack: {threat: linf}", "must be one of 'linf: 8/255'"),
    ("attack: {threat: {l3: 1}}", "Unknown threat model 'l3'"),
    ("attack: {step_size: 8/255, threat: {linf: 2/255}}", "Were the two swapped"),
    ("method: {rslad: {adv_weight: much}}", "adv_weight of RSLAD must be a finite number of at least 0"),
    ("method: {rslad: {adv_weight: .nan}}", "adv_weight of RSLAD must be a finite number of at least 0"),
    ("method: [rslad]", "method must be a name or names with coefficients"),
    ("teacher_every: 0", "teacher_every must lie between 1 and 1e.*, got 0"),
    ("teacher_every: often", "recipe: teacher_every cannot be 'often'"),
    ("precision: fp64", "precision cannot be 'fp64': "),
    ("a: [", "recipe is not YAML"),
    ("- a", "must hold fields such as 'epochs: 50', got list"),
    ("method: !!python/object/apply:os.system ['true']", "recipe is not YAML"),
])  # fmt: skip
def test_mistakes_are_explained(text, message):
    with pytest.raises(ValueError, match=message):
        Recipe.from_yaml(text)


def test_a_file_that_is_not_text_is_no_recipe(tmp_path):
    (tmp_path / "noise.yaml").write_bytes(b"\xff\xfe\x00noise")
    with pytest.raises(ValueError, match="noise.yaml is not a recipe: it is not text"):
        recipes.load(str(tmp_path / "noise.yaml"))


def test_unknown_recipes():
    with pytest.raises(ValueError, match="Unknown recipe 'digits.rslda'. Did you mean 'digits.rslad'"):
        recipes.load("digits.rslda")
    with pytest.raises(FileNotFoundError, match="There is no recipe file no.yaml"):
        recipes.load("no.yaml")
