"""The findings of a study: accuracies over seeds, differences from the baseline, and the effect of each level."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from statistics import fmean
from typing import Any

from ..report.compare import distinct, mismatches
from ..report.loading import LoadedResult, load_result
from ..report.statistics import Difference, holm, over_seeds, paired, paired_t, unpaired
from ..results.files import ResultFiles
from ..results.result import Result
from .folder import Cost, StudyFolder
from .matrix import SEED, Cell, Study

__all__ = ["Effect", "Findings", "Group", "findings"]


@dataclass(frozen=True, eq=False)
class Group:
    """Cells that differ only in the seed.

    Attributes:
        levels: names of the levels by axis, without the seed.
        results, costs: of each cell, by seed.
        against: difference from the baseline's group under the attack `Study.robust`; `None` if this is the baseline or
            has no seed in common with it.
    """

    levels: Mapping[str, str]
    results: Mapping[str, LoadedResult]
    costs: Mapping[str, Mapping[str, Any]]
    against: Difference | None = None

    @property
    def name(self) -> str:
        return ", ".join(self.levels.values()) or "all"

    def figure(self, attack: str) -> tuple[float, float | None]:
        """Return the mean accuracy over the seeds, and the standard deviation if there are several seeds."""
        values = [run.result[attack].accuracy for run in self.results.values()]
        return over_seeds(values) if len(values) > 1 else (values[0], None)

    def cost(self, name: str) -> float:
        """Return the mean over the seeds of `seconds`, `steps` or `image_passes`."""
        return fmean(one[name] for one in self.costs.values())


@dataclass(frozen=True)
class Effect:
    """The effect of a level against the axis's reference level, over all pairs of cells that differ in nothing else.

    Attributes:
        within: the method of the pairs, as the levels of the axes that choose it; empty for the pairs of all methods.
        clean, robust: the differences in accuracy. The p values of `robust` are corrected by Holm, those with an empty
            `within` apart from the others.
    """

    axis: str
    level: str
    reference: str
    within: str
    clean: Difference | None
    robust: Difference


@dataclass(frozen=True, eq=False)
class Findings:
    """Everything that tables and the page of a study show.

    Attributes:
        done, total: number of finished cells, and of all cells.
        held_out: whether the images are those that each run held out for validation, instead of the test split.
        notes: caveats of the figures, a sentence each.
    """

    study: Study
    attacks: Sequence[str]
    robust: str
    groups: Sequence[Group] = ()
    effects: Sequence[Effect] = ()
    notes: Sequence[str] = ()
    done: int = 0
    total: int = 0
    held_out: bool = False
    failed: Mapping[str, str] = field(default_factory=dict)


def findings(folder: StudyFolder) -> Findings:
    """Compute the findings from the cells that are done.

    Raises:
        ValueError: a cell's files are damaged, or belong to another recipe.
    """
    study, cells = folder.study, folder.study.cells
    finished = [cell for cell in cells if folder.done(cell)]
    runs = {cell.name: load_result(folder.results(cell)) for cell in finished}
    costs = {cell.name: _with_images(folder.cost(cell), cell) for cell in finished}
    attacks = [attack.name for attack in study.suite]
    found = Findings(study, attacks, study.robust, done=len(finished), total=len(cells), held_out=folder.held_out)
    groups = list(_groups(finished, runs, costs))
    failed = {c.name: why for c in cells if c.name not in runs and (why := folder.why_failed(c)) is not None}
    return replace(
        found, failed=failed, groups=_against_baseline(study, groups),
        effects=list(_effects(study, finished, runs)), notes=list(_notes(folder, finished, runs, costs)),
    )  # fmt: skip


def _with_images(cost: Cost, cell: Cell) -> dict[str, Any]:
    """Add `image_passes`, the sum over all networks: batches of half the size cost the same, in twice the steps."""
    return {**cost, "image_passes": sum(cost["passes"].values()) * cell.recipe.batch_size}


def _groups(
    cells: Sequence[Cell], runs: Mapping[str, LoadedResult], costs: Mapping[str, Mapping[str, Any]]
) -> Iterator[Group]:
    groups: dict[tuple[str, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    for same in groups.values():
        levels = {axis: level for axis, level in same[0].levels.items() if axis != SEED}
        by_seed = {cell.levels.get(SEED, str(cell.recipe.seed)): cell.name for cell in same}
        yield Group(levels, {s: runs[n] for s, n in by_seed.items()}, {s: costs[n] for s, n in by_seed.items()})


def _against_baseline(study: Study, groups: list[Group]) -> list[Group]:
    """Return the groups with their differences from the baseline; p values are corrected by Holm."""
    reference = {axis: study.reference(axis) for axis in study.axes if axis != SEED}
    base = next((group for group in groups if group.levels == reference), None)
    if base is None:
        return groups
    found = {}
    for at, group in enumerate(groups):
        pairs = [(group.results[seed], base.results[seed]) for seed in group.results if seed in base.results]
        if group is not base and pairs:
            found[at] = _difference(pairs, study.robust)
    corrected = dict(zip(found, holm([one.p for one in found.values()]), strict=True))
    return [
        replace(group, against=replace(found[at], p=corrected[at])) if at in found else group
        for at, group in enumerate(groups)
    ]


def _effects(study: Study, cells: Sequence[Cell], runs: Mapping[str, LoadedResult]) -> Iterator[Effect]:
    """Yield effects over all cells and, for axes that do not choose the method, within each method."""
    known = {tuple(sorted(cell.levels.items())): cell for cell in cells}
    choosers = [axis for axis in study.axes if study.of_method(axis)]

    def effects(axis: str, within: str, among: Callable[[Cell], bool]) -> Iterator[Effect]:
        for level in study.axes[axis]:
            pairs = []
            for cell in filter(among, cells):
                other = known.get(tuple(sorted({**cell.levels, axis: study.reference(axis)}.items())))
                if cell.levels[axis] == level != study.reference(axis) and other:
                    pairs.append((runs[cell.name], runs[other.name]))
            if pairs:
                clean = _difference(pairs, "clean") if "clean" in _attacks(pairs[0][0]) else None
                yield Effect(axis, level, study.reference(axis), within, clean, _difference(pairs, study.robust))

    def trained_by(method: str, cell: Cell) -> bool:
        return ", ".join(cell.levels[axis] for axis in choosers) == method

    axes = [axis for axis in study.axes if axis != SEED and len(study.axes[axis]) > 1]
    yield from _corrected([one for axis in axes for one in effects(axis, "", lambda cell: True)])
    methods = distinct(", ".join(cell.levels[axis] for axis in choosers) for cell in cells) if choosers else []
    inner = [
        one for axis in axes if axis not in choosers for method in methods
        for one in effects(axis, method, partial(trained_by, method))
    ]  # fmt: skip
    yield from _corrected(inner if len(methods) > 1 else [])


def _corrected(effects: list[Effect]) -> Iterator[Effect]:
    for effect, p in zip(effects, holm([effect.robust.p for effect in effects]), strict=True):
        yield replace(effect, robust=replace(effect.robust, p=p))


def _attacks(run: LoadedResult) -> set[str]:
    return {m.attack for m in run.result.measurements}


def _difference(pairs: Sequence[tuple[LoadedResult, LoadedResult]], attack: str) -> Difference:
    """Compare pairs of cells by the paired t test; a single pair by McNemar's on verdicts, or Fisher's without them."""
    if len(pairs) > 1:
        return paired_t([a.result[attack].accuracy - b.result[attack].accuracy for a, b in pairs])
    (first, second), = pairs
    if attack in first.verdicts and attack in second.verdicts:
        return paired(first.verdicts[attack], second.verdicts[attack])
    return unpaired(first.result[attack].correct, second.result[attack].correct, second.result[attack].n)


def _notes(
    folder: StudyFolder, cells: Sequence[Cell], runs: Mapping[str, LoadedResult], costs: Mapping[str, Mapping[str, Any]]
) -> Iterator[str]:
    yield from folder.study.missing_baselines()
    if folder.held_out:  # each seed holds out different images
        yield from _notes_of_held_out(cells, [runs[cell.name].result for cell in cells])
    else:
        yield from mismatches([run.result for run in runs.values()])
    for role in distinct(role for one in costs.values() for role in one["teachers"]):
        taught: dict[str, set[str]] = {}
        for cell in cells:
            if role in costs[cell.name]["teachers"]:
                taught.setdefault(cell.recipe.references[role], set()).add(costs[cell.name]["teachers"][role])
        for reference in (reference for reference, digests in taught.items() if len(digests) > 1):
            yield f"Cells have different {role} teachers under the one name {reference}: their figures do not compare."
    for what, unit in (("steps", "optimiser steps"), ("image_passes", "forward passes of an image")):
        values = [one[what] for one in costs.values()]
        if values and min(values) != max(values):
            yield f"Budgets differ: {min(values):,} to {max(values):,} {unit} a run; the table has each."
    elsewhere = 0
    for cell in cells:
        result = runs[cell.name].result
        ours = ResultFiles(folder.results(cell) / "result.json").measured_by_this_user(result)
        elsewhere += not {m.attack for m in result.measurements} <= ours
    if elsewhere:
        yield f"{elsewhere} of {len(cells)} results were not measured with this user's key; they are shown as claimed."
    if machines := distinct(str(one["machine"]) for one in costs.values()):
        yield f"Machine: {'; '.join(machines)}."


def _notes_of_held_out(cells: Sequence[Cell], results: Sequence[Result]) -> Iterator[str]:
    for seed in distinct(str(cell.recipe.seed) for cell in cells):
        same = [result for cell, result in zip(cells, results, strict=True) if str(cell.recipe.seed) == seed]
        yield from (f"Seed {seed}: {note}" for note in mismatches(same))
    chosen = sum(result.chosen is not None and (result.chosen.among or 1) > 1 for result in results)
    if chosen:
        yield (f"In {chosen} of {len(results)} cells the checkpoint was chosen among several on these images: "
               "their figures are too high. Set validate_every to at least epochs.")  # fmt: skip
