"""A result in the form of RobustBench's model_info files."""

from ..results.result import Measurement, Result

__all__ = ["robustbench_entry"]

ACCURACIES = {"clean_acc": "clean", "autoattack_acc": "autoattack"}


def robustbench_entry(result: Result) -> dict[str, str]:
    """What a result knows of a RobustBench entry: dataset, eps, and the accuracies it has, in per cent.

    Left out, because a result does not know them: link, name, authors, venue, architecture, additional_data,
    number_forward_passes, and reported, which is the figure in the authors' paper. The footnote says how many images
    were measured and how: a leaderboard's figures are of the whole test split and of plain AutoAttack.

    Raises:
        ValueError: the result is of another split than a test split, or has neither accuracy.
    """
    dataset, _, split = result.data.rpartition("/")
    if split != "test":
        raise ValueError(f"RobustBench lists accuracies on test splits; this result is of {result.data}.")
    measured = {m.attack: m for m in result.measurements}
    known = {field: measured[attack] for field, attack in ACCURACIES.items() if attack in measured}
    if not known:
        raise ValueError(
            f"RobustBench lists clean and autoattack; this result has {', '.join(measured) or 'no measurement'}. "
            "Run --suite autoattack."
        )
    eps = result.threat.rpartition(" ")[2]
    accuracies = {field: f"{100 * m.accuracy:.2f}" for field, m in known.items()}
    return {"dataset": dataset, "eps": eps, **accuracies, "footnote": _footnote(result, known)}


def _footnote(result: Result, known: dict[str, Measurement]) -> str:
    said = [f"{field}: {m.n} images{m.settings and f', {m.settings}'}" for field, m in known.items()]
    version = result.versions.get("advdistill", "")
    return f"{'; '.join(said)}; {result.threat}, seed {result.seed}. Measured with advdistill {version}".rstrip() + "."
