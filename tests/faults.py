"""Put deliberate faults, one at a time, into a copy of the package and check that a test fails (`make faults`)."""

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
COPIED = ("advdistill", "tests", "docs")
# the tests run in the folder of the copy; the package that they import must be the copy
PYTEST = """import sys, pathlib, pytest, advdistill
assert pathlib.Path(advdistill.__file__).is_relative_to(pathlib.Path.cwd()), advdistill.__file__
sys.exit(pytest.main(sys.argv[1:]))"""
OPTIONS = ("-x", "-q", "-rf", "--tb=no", "-p", "no:cacheprovider", "-p", "no:randomly", "-o", "addopts=")
ENV = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "300", "PYTHONDONTWRITEBYTECODE": "1"}


@dataclass(frozen=True)
class Fault:
    """A mistake that somebody could make.

    Args:
        file: path below advdistill/.
        old: correct code, which the file must contain exactly once.
        new: faulty code that replaces `old`.
        tests: pytest's ids below tests/, separated by spaces.
    """

    name: str
    file: str
    old: str
    new: str
    tests: str

    @property
    def ids(self) -> list[str]:
        return [f"tests/{test}" for test in self.tests.split()]

    def apply(self, root: Path) -> None:
        path = root / "advdistill" / self.file
        text = path.read_text()
        if (times := text.count(self.old)) != 1:
            raise ValueError(
                f"Fault {self.name!r}: advdistill/{self.file} should hold {self.old!r} once, and holds it {times} "
                "times. Bring tests/faults.py up to date."
            )
        path.write_text(text.replace(self.old, self.new))


STEP = "test_loop_options.py::test_a_step_is_told_how_far_the_run_is_and_starts_its_attack_elsewhere"
DIED = "test_every_method.py::test_a_run_that_died_anywhere_ends_bit_for_bit_the_same"
BOX = "test_threat.py::test_projection_ends_in_the_ball_and_the_box"
FROZEN = "test_distiller.py::test_teachers_are_frozen_and_get_no_gradient"
NORMALISED = "test_models.py::test_normalising_inside_equals_normalising_outside"
FAULTS = [
    # attacks
    Fault("PGD goes down: the gradient's sign is flipped", "attacks/pgd.py",
          "autograd.grad(objective(x_adv).sum(), x_adv)", "autograd.grad(-objective(x_adv).sum(), x_adv)",
          "test_pgd.py::test_one_step_without_start_is_fgsm"),
    Fault("Linf: x' is not clamped to [0, 1]", "threat.py",
          "x_adv.clamp(x - eps, x + eps).clamp(0, 1)", "x_adv.clamp(x - eps, x + eps)", BOX),
    Fault("Linf: x' is not projected to eps", "threat.py",
          "x_adv.clamp(x - eps, x + eps).clamp(0, 1)", "x_adv.clamp(0, 1)", BOX),
    Fault("L2: x' is not projected to eps", "threat.py",
          "(x + (x_adv - x) * per_image(shrink)).clamp(0, 1)", "x_adv.clamp(0, 1)", BOX),
    Fault("L2: x' inside the ball is pushed out to its surface", "threat.py",
          ".clamp(min=1e-12)).clamp(max=1)", ".clamp(min=1e-12))", BOX),
    Fault("eps may be 8 instead of 8/255", "_internal/pixels.py",
          "if not 0 <= number <= limit:", "if not 0 <= number:", "test_threat.py::test_pixels_refuses"),
    Fault("eps goes to AutoAttack in the wrong units", "attacks/autoattack.py",
          "eps=self.threat.eps, seed", "eps=self.threat.eps * 255, seed",
          "test_autoattack.py::test_verdicts_are_the_librarys_image_by_image"),
    Fault("PGD's random start is missing", "attacks/pgd.py",
          "return (x + self.start_radius * self.threat.sample(x, rng)).clamp(0, 1)", "return x",
          "test_pgd.py::test_draws_depend_on_the_key_alone"),
    Fault("the attack starts alike in every epoch", "train/step.py",
          '"start", self.state.at.step, device', '"start", self.state.at.batch, device', STEP),
    Fault("batch-norm statistics move during an attack in eval mode", "distiller.py",
          'in_mode(student, self.attack.student_mode == "train")', "in_mode(student, True)",
          "test_distiller.py::test_an_eval_attack_leaves_running_statistics_to_the_loss"),
    # methods and losses
    Fault("MTARD: the clean teacher stands in for the robust one", "methods/mtard.py",
          "self.balanced(batch, batch.teacher(batch.x_adv), batch.clean_teacher(batch.x))",
          "self.balanced(batch, batch.clean_teacher(batch.x_adv), batch.teacher(batch.x))",
          "test_methods.py::test_golden_vectors"),
    Fault("KL's arguments are swapped", "losses.py",
          "F.kl_div(log_q, log_p, ", "F.kl_div(log_p, log_q, ", "test_losses.py::test_kl_by_hand"),
    Fault("RSLAD's attack climbs KL the other way round", "methods/rslad.py",
          "kl(soft, batch.student(x_adv))", "kl(batch.student(x_adv), soft)",
          "test_distiller.py::test_the_loss_of_rslad_is_that_of_a_loop_written_by_hand"),
    Fault("KL is a mean over the classes, not their sum: a factor K", "losses.py",
          "log_target=True).sum(1)", "log_target=True).mean(1)", "test_losses.py::test_kl_by_hand"),
    Fault("ARD: the factor tau squared is dropped", "methods/ard.py",
          "self.scale * self.temperature**2", "self.scale", "test_methods.py::test_golden_vectors"),
    Fault("IGDM does not grow with the epochs", "methods/igdm.py",
          "self.weight * batch.progress * kl", "self.weight * kl", "test_methods.py::test_golden_vectors"),
    Fault("IGDM's ramp e / E begins at 0, an epoch late", "train/step.py",
          "(epoch + 1) / recipe.epochs", "epoch / recipe.epochs", STEP),
    Fault("TRADES: beta is dropped", "methods/trades.py",
          "self.robust_weight * kl(", "1.0 * kl(", "test_methods.py::test_golden_vectors"),
    Fault("a teacher is left in train mode", "distiller.py",
          "network.train(role in method.trained), role", "network.train(), role", FROZEN),
    Fault("a teacher is not frozen", "distiller.py",
          "trained), role in method.trained)", "trained), True)", FROZEN),
    Fault("folded batch-norm forgets its eps", "acceleration/folding.py",
          "norm.running_var, norm.eps,", "norm.running_var, 0.0,", "test_frozen.py::test_a_fold_by_hand"),
    # data
    Fault("the held-out images are trained on", "data/split.py",
          "return self.take(kept), replace(", "return self, replace(",
          "test_data_split.py::test_holdout_is_a_stratified_partition"),
    Fault("train_images are drawn from the held-out ones as well", "train/given.py",
          "_some(used, recipe), recipe), held", "_some(split, recipe), recipe), held",
          "test_train.py::test_fewer_training_images_are_still_none_of_the_held_out_ones"),
    Fault("the fingerprint ignores labels", "data/split.py",
          "digest.update(labels.contiguous().numpy().data)", 'digest.update(b"")',
          "test_data_split.py::test_fingerprint_depends_on_images_and_labels"),
    Fault("every epoch augments alike", "data/crops.py",
          'generator(seed, "augment", epoch)', 'generator(seed, "augment")',
          "test_batches.py::test_every_epoch_crops_and_flips_anew"),
    Fault("every epoch has the same order", "data/batches.py",
          'generator(self.seed, "order", epoch)', 'generator(self.seed, "order")',
          "test_batches.py::test_every_epoch_has_all_images_once_in_an_order_of_its_own"),
    Fault("a batch shared among processes loses its remainder", "data/batches.py",
          "index.tensor_split(self.world) for", "index.split(len(index) // self.world) for",
          "test_batches.py::test_processes_share_every_image_of_a_batch"),
    Fault("images are normalised twice", "models/classifier.py",
          "(x - self.mean) / self.std)", "((x - self.mean) / self.std - self.mean) / self.std)", NORMALISED),
    Fault("mean and std are swapped", "models/classifier.py",
          "(x - self.mean) / self.std)", "(x - self.std) / self.mean)", NORMALISED),
    # training
    Fault("a continued run loses the method's state", "train/state.py",
          "part.state = {name: tensor.to(device) for name, tensor in saved.items()}", "part.state = {}",
          f"{DIED}[mtard]"),
    Fault("a continued run loses the optimiser's momentum", "train/state.py",
          'self.optimizer.load_state_dict(values["optimizer"])', 'values["optimizer"]', f"{DIED}[rslad]"),
    Fault("a continued run loses the average of the weights", "train/state.py",
          'self.average.load_state_dict(values["average"])', 'values["average"]',
          "test_train.py::test_a_run_that_died_anywhere_ends_bit_for_bit_the_same[rslad-0.9]"),
    Fault("a continued run counts its epochs anew", "train/state.py",
          'build(Position, values["position"])', 'build(Position, values["position"] | {"epoch": 0})',
          f"{DIED}[rslad]"),
    Fault("a continued run draws other random numbers", "train/step.py",
          "total=self._total, rng=rng", "total=self._total, rng=None", f"{DIED}[rslad]"),
    Fault("a continued run skips one batch", "data/batches.py",
          "[skip : len(self)]", "[skip + bool(skip) : len(self)]", f"{DIED}[rslad]"),
    Fault("the worst checkpoint is saved, not the best", "train/checkpoints.py",
          "_rank(figures, by) > _rank(best, by)", "_rank(figures, by) < _rank(best, by)",
          "test_train.py::test_the_best_checkpoint_is_the_best_of_the_validation"),
    Fault("the learning rate falls one step late", "train/schedule.py",
          "done >= epochs_of(milestone, epochs)", "done > epochs_of(milestone, epochs)", "test_schedule.py::test_rate"),
    Fault("the learning rate is an epoch ahead", "train/trainer.py",
          "epoch + self.state.at.batch / len", "epoch + 1 + self.state.at.batch / len", STEP),
    Fault("EMA's decay is inverted", "train/average.py",
          "get_ema_multi_avg_fn(self.decay_at", "get_ema_multi_avg_fn(1 - self.decay_at",
          "test_loop_options.py::test_ema_keeps_its_share_of_the_average"),
    Fault("weights stay perturbed after an AWP step", "train/awp.py",
          "                weight.copy_(torch.where(", "                weight.detach().clone().copy_(torch.where(",
          "test_loop_options.py::test_weights_are_moved_by_a_share_of_their_norm_along_the_gradient_and_put_back"),
    # evaluation and files
    Fault("the model is evaluated in train mode", "evaluation/networks.py",
          "copied(model).eval()", "copied(model).train()",
          "test_evaluate.py::test_accelerated_accuracies_are_close"),
    Fault("AutoAttack: images that are wrong when clean count as robust", "attacks/autoattack.py",
          "left = ~self._broken(model, x, x, y)", "left = y == y",
          "test_autoattack.py::test_eps_0_leaves_clean_accuracy"),
    Fault("AutoAttack's own verdict is believed", "attacks/autoattack.py",
          "broken = self._broken(model, found, x[alive], y[alive])",
          "broken = (found != x[alive]).flatten(1).any(1)",
          "test_autoattack.py::test_what_the_library_breaks_outside_the_threat_does_not_count"),
    Fault("the fast copy that is attacked gives the verdict, too", "evaluation/context.py",
          "return self.model(x).argmax(1) == y", "return (self.attacked.network or self.model)(x).argmax(1) == y",
          "test_evaluate.py::test_the_verdict_is_the_models_whatever_is_searched"),
    Fault("Wilson's z is that of a one-sided interval", "results/result.py",
          "inv_cdf((1 + confidence) / 2)", "inv_cdf(confidence)",
          "test_result.py::test_wilson_gives_the_published_values"),
    Fault("McNemar's test takes the two models for each other", "report/statistics.py",
          "3 - 2 * first.astype(int) - second.astype(int)", "3 - first.astype(int) - 2 * second.astype(int)",
          "test_statistics.py::test_the_paired_interval"),
    Fault("McNemar's test counts the pairs that agree", "report/statistics.py",
          "_, only_first, only_second, _ = _count_pairs", "only_first, _, _, only_second = _count_pairs",
          "test_statistics.py::test_mcnemar_worked_by_hand"),
    Fault("a verdict depends on the batch: draws are by the place in it, not in the split", "_internal/rng.py",
          '"image", place) for place in places]', '"image", place) for place in range(len(places))]',
          "test_same_verdicts.py::test_each_image_has_draws_of_its_own"),
    Fault("a verdict depends on the batch: blocks are as large as it", "evaluation/context.py",
          "return max(LEAST, min(max(usual, small), LARGE // (height * width)))", "return self.batch_size",
          "test_evaluate.py::test_a_block_is_a_function_of_the_images_size_and_the_device"),
    Fault("an image that is wrong when clean may be right under attack", "evaluation/measure.py",
          "right = right & clean  #", "right = right.clone()  #",
          "test_no_gradient.py::test_robust_accuracy_is_never_above_clean_accuracy[pgd-20]"),
    Fault("the same in a curve and in validation", "evaluation/measure.py",
          "clean & context.correct(PGDAttack(", "context.correct(PGDAttack(",
          "test_no_gradient.py::test_nor_is_it_in_a_curve_an_inspection_or_a_validation"),
    Fault("a gradient that is NaN counts as one to climb", "evaluation/watch.py",
          "seen.without_gradient = ~((peak > 0) & peak.isfinite())", "seen.without_gradient = peak == 0",
          "test_no_gradient.py::test_constant_networks_and_gradients_that_are_nan_are_counted"),
    Fault("the share of images without a gradient is never said", "results/result.py",
          "if self.no_gradient and self.no_gradient / self.n > NO_GRADIENT:", "if self.no_gradient and self.n < 0:",
          "test_no_gradient.py::test_a_table_stays_a_table_and_a_measurement_without_the_field_is_read"),
    # provenance of results, verdicts and inputs
    Fault("a result is read beside any weights", "results/weights.py",
          "if found is None or same_weights(found, result.weights):", "if True:",
          "test_trust.py::test_a_result_named_after_its_checkpoint_belongs_to_it"),
    Fault("a digest ignores mean and std", "results/weights.py",
          "means.tobytes() + stds.tobytes()", 'b""', "test_trust.py::test_a_digest_names_the_normalisation"),
    Fault("results of version 0.1 are called stale", "results/consistency.py",
          "(not how or not other_how or how == other_how)", "how == other_how",
          "test_trust.py::test_a_digest_of_an_earlier_version_says_nothing_of_the_normalisation"),
    Fault("any tag vouches for verdicts", "_internal/secret.py",
          "hmac.compare_digest(claimed.encode(), tag(parts).encode())", "len(claimed) == 64",
          "test_trust.py::test_verdicts_of_others_are_set_aside"),
    Fault("verdicts without a tag are one's own", "_internal/secret.py",
          "claimed is not None and hmac", "claimed is None or hmac",
          "test_trust.py::test_verdicts_of_others_are_set_aside"),
    Fault("the tag does not cover what the verdicts are of", "results/files.py",
          "yield json.dumps(facts, sort_keys=True).encode()", 'yield b""',
          "test_trust.py::test_verdicts_of_others_are_set_aside"),
    Fault("a run resumes on other data", "train/inputs.py",
          "if now[name] != self.digests[name])", "if now[name] != self.digests[name] and name[:4] != 'data')",
          "test_resume_inputs.py::test_other_data_are_refused"),
    Fault("a run resumes on another teacher", "train/inputs.py",
          "if now[name] != self.digests[name])", "if now[name] != self.digests[name] and 'teach' not in name)",
          "test_resume_inputs.py::test_other_networks_are_refused"),
    Fault("a network's digest ignores its buffers", "train/inputs.py",
          "(*network.named_parameters(), *network.named_buffers())", "network.named_parameters()",
          "test_resume_inputs.py::test_weights_buffers_and_architecture_make_a_digest"),
    Fault("exchanged labels are the same data", "train/inputs.py",
          '"data.labels": _digest(split.labels.contiguous().numpy().data)', '"data.labels": _digest(b"")',
          "test_resume_inputs.py::test_other_data_are_refused"),
    Fault("a file is written directly, not beside and renamed", "_internal/files.py",
          "_replace(path, Path(name), write, keep)", "Path(name).unlink() or write(path)",
          "test_models_loading.py::test_a_save_that_fails_leaves_the_previous_file_and_nothing_else"),
    Fault("a foreign checkpoint may run code", "models/torch_file.py",
          "weights_only=True", "weights_only=False", "test_models_errors.py::test_a_pickle_that_runs_code_is_refused"),
    Fault("export: worst case counts images that are wrong when clean", "export/robustness.py",
          "== CORRECT for m in measured])", "== CORRECT for m in measured[1:]])",
          "test_shipping.py::test_an_image_that_is_wrong_when_clean_stands_under_nothing"),
    Fault("export: the verdict on an int8 file is the fp32 network's", "export/robustness.py",
          "EvaluatedModel(context.model, context.split, context.device)",
          "EvaluatedModel(next(filter(None, gradient_networks.values()), context.model), "
          "context.split, context.device)",
          "test_shipping.py::test_an_image_that_is_wrong_when_clean_stands_under_nothing"),
]  # fmt: skip


def tried(ids: Iterable[str], fault: Fault | None = None) -> tuple[int, list[str], str]:
    """Run tests on a copy, with or without a fault; return pytest's exit code, the failed tests and the output."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder).resolve()
        shutil.copyfile(ROOT / "pyproject.toml", root / "pyproject.toml")
        for name in COPIED:
            shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
        if fault:
            fault.apply(root)
        done = subprocess.run(
            [sys.executable, "-c", PYTEST, *OPTIONS, *ids], cwd=root, env=ENV | {"PYTHONPATH": str(root)},
            capture_output=True, text=True,
        )  # fmt: skip
    return done.returncode, re.findall(r"^FAILED tests/(.+?)(?: - .*)?$", done.stdout, re.M), done.stdout + done.stderr


def main(chosen: str, out: Path | None) -> int:
    faults = [fault for fault in FAULTS if chosen in fault.name]
    code, _, told = tried(dict.fromkeys(test for fault in faults for test in fault.ids))
    if code:
        print(f"Without a fault the tests are not green:\n{told}", file=sys.stderr)
        return 1
    rows, missed = ["| fault | file | the test that goes red | seconds |", "|---|---|---|--:|"], 0
    print(*rows, sep="\n", flush=True)
    for fault in faults:
        began = time.monotonic()
        _, red, told = tried(fault.ids, fault)
        if not red:
            missed += 1
            print(told, file=sys.stderr)
        seconds, test = time.monotonic() - began, f"`{red[0]}`" if red else "**none**"
        rows.append(f"| {fault.name} | {fault.file} | {test} | {seconds:.0f} |")
        print(rows[-1], flush=True)
    rows.append(f"\n{len(faults)} faults, {len(faults) - missed} caught.")
    print(rows[-1])
    if out:
        sys.path.insert(0, str(ROOT / "benchmarks"))
        from receipt import receipt

        out.write_text("\n".join(["# Deliberate faults, and the tests that notice", "", receipt(), "", *rows]) + "\n")
    return int(missed > 0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", dest="chosen", default="", help="faults whose name has this in it")
    parser.add_argument("--out", type=Path, help="a Markdown file for the table")
    sys.exit(main(**vars(parser.parse_args())))
