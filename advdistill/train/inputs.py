"""Digests of the networks and data that a run is trained from: saved in its state, compared on resume."""

import hashlib
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from ..data import Split
from ..data.extra import Extra
from ..data.loaded import Loaded
from ..data.streamed import Streamed

__all__ = ["FROM_RECIPE", "Inputs", "data_digests", "described", "extra_digests", "network_digest", "network_digests"]

FROM_RECIPE = "made as the recipe says"  # in place of the digest of a network that is neither given nor loaded
SAMPLE = 32  # images whose pixels are always compared
MOST_BYTES = 2**29  # of pixels in memory; up to so many, all are compared, in a few tenths of a second


@dataclass
class Inputs:
    """Digests of the networks and data that a run is trained from.

    Attributes:
        digests: by name: `student`, `teachers.ROLE` and `student_init`; for the training split `data.images` (a sample
            of the pixels), `data.content` (all pixels, if that is cheap), `data.labels`, `data.classes` and
            `data.held_out`; for generated images `data.extra` and `data.extra_content`.
        changes: names of inputs replaced on purpose when the run was resumed, with the epochs done by then.
    """

    digests: dict[str, str] = field(default_factory=dict)
    changes: dict[str, list[int]] = field(default_factory=dict)

    def resume(
        self, now: Mapping[str, str], saved: Mapping[str, nn.Module], epoch: int, run: str, accept: bool
    ) -> str:
        """Compare the run's digests with those of the current inputs, which are then recorded.

        Args:
            now: current digests by name.
            saved: networks by name whose weights have been loaded from the run's state. A module that is passed in
                with these weights, since this process has trained it, counts as unchanged too.
            epoch: epochs done.
            run: the run's folder, for messages.
            accept: record differences instead of raising ValueError.

        Returns:
            A message about what differs or could not be compared, or an empty string.

        Raises:
            ValueError: an input differs and `accept` is false.
        """
        both = now.keys() & self.digests.keys()
        differing = sorted(name for name in both if now[name] != self.digests[name])
        differing = [n for n in differing if n not in saved or network_digest(saved[n]) != now[n]]
        if differing and not accept:
            raise ValueError(_refusal(run, differing, saved.keys() & differing))
        if not self.digests:
            said = f"{run}: its state has no digests (written by an earlier version), so networks and data could not "
            said += "be compared with those at the start."
        elif missing := sorted(now.keys() - both):
            said = f"{run}: its state has no digest of {', '.join(missing)}, which could not be compared."
        else:
            said = ""
        if changed := [name for name in differing if name not in saved]:
            said = f"{run}: from epoch {epoch + 1} on with {described(changed)}, as accepted; its metrics record it."
        for name in changed:
            self.changes.setdefault(name, []).append(epoch)
        kept = {name: self.digests[name] for name in self.digests.keys() & saved.keys()}  # as at the start of the run
        self.digests = ({} if changed else self.digests) | dict(now) | kept
        return said

    def changed_before(self, epoch: int) -> str:
        """Describe changes before the end of this epoch, counted from 1: "from epoch 3 on with other data (images)"."""
        at: dict[int, list[str]] = {}
        for name, epochs in self.changes.items():
            for done in epochs:
                if done < epoch:
                    at.setdefault(done, []).append(name)
        return ", ".join(f"from epoch {done + 1} on with {described(at[done])}" for done in sorted(at))


def network_digests(student: nn.Module, teachers: Mapping[str, nn.Module], made: Collection[str]) -> dict[str, str]:
    """Return digests of a run's networks before its first step.

    Args:
        student: the network to train.
        teachers: by role, including jointly trained ones.
        made: names of networks created as the recipe says. They get `FROM_RECIPE` for a digest, since their weights
            are drawn from the recipe's seed and may differ between versions of PyTorch.

    Returns:
        Digests by name: `student` and `teachers.ROLE`.
    """
    networks = {"student": student} | {f"teachers.{role}": network for role, network in teachers.items()}
    return {name: FROM_RECIPE if name in made else network_digest(network) for name, network in networks.items()}


def network_digest(network: nn.Module) -> str:
    """Return a digest of a network's parameters, buffers (with `mean` and `std`) and, if from the zoo, architecture.

    Returns:
        Sixteen hex digits.
    """
    digest = hashlib.sha256(str(getattr(getattr(network, "spec", None), "name", "")).encode())
    for name, tensor in (*network.named_parameters(), *network.named_buffers()):
        digest.update(f"{name} {tensor.dtype} {list(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]


def data_digests(split: Split | Loaded, held_out: Split, every_image: bool = False) -> dict[str, str]:
    """Return digests of the images that a run is trained on.

    Args:
        split: the whole training split; of a loader, only the classes are compared.
        held_out: the images held out for validation.
        every_image: read all pixels, even if that takes long. Otherwise, of more than 512 MB in memory, every k-th
            image is read (`data.part`), and of images that stay on disk a sample; their `data.content` is then the
            fingerprint remembered with the files' sizes and times, if any.

    Returns:
        Digests by name, as in `Inputs`.
    """
    found = {
        "data.classes": _digest(repr(split.classes).encode()),
        "data.held_out": _digest(held_out.labels.contiguous().numpy().data, _sampled(held_out).encode()),
    }
    if isinstance(split, Loaded):
        return found
    found |= {"data.labels": _digest(split.labels.contiguous().numpy().data), "data.images": _sampled(split)}
    images = split.images
    if isinstance(images, Streamed):
        fresh = images.take(slice(None)) if every_image else images  # has no remembered fingerprint
        content = fresh.fingerprint(split.labels) if every_image else images.known_fingerprint(split.labels)
        return found | ({"data.content": content} if content else {})
    step = 1 if every_image else -(-images.nbytes // MOST_BYTES)
    part = split if step == 1 else split.take(range(0, len(split), step))
    return found | {"data.content" if step == 1 else "data.part": part.fingerprint()}


def extra_digests(extra: Extra, every_image: bool = False) -> dict[str, str]:
    """Return digests of generated images: of labels and a sample, and of every pixel if that is cheap or requested."""
    whole = {"data.extra_content": extra.content} if every_image or extra.nbytes <= MOST_BYTES else {}
    return {"data.extra": extra.digest} | whole


def described(names: Iterable[str]) -> str:
    """Describe what differs, such as "another robust teacher and other data (images, labels)"."""
    return " and ".join(_parts(set(names)))


def _parts(names: set[str]) -> Iterator[str]:
    for name in sorted(names):
        kind, _, what = name.partition(".")
        if kind == "teachers":
            yield f"another {what} teacher"
        elif kind != "data":
            yield f"another {name}"
    of_data = {name.partition(".")[2] for name in names if name.startswith("data.")}
    if of_data & {"content", "part"} and not of_data & {"images", "labels"}:
        of_data.add("images")
    if "extra_content" in of_data:
        of_data.add("extra")
    of_data -= {"content", "part", "extra_content"}
    if of_data > {"held_out"}:
        of_data.remove("held_out")  # implied by the others
    if of_data:
        yield f"other data ({', '.join(what.replace('held_out', 'held-out images') for what in sorted(of_data))})"


def _refusal(run: str, names: list[str], saved: Collection[str]) -> str:
    seed = " Seed it (torch.manual_seed) before you make it; its trained weights are in the state." if saved else ""
    return (
        f"{run} began with {described(names)}.{seed} Give the original inputs, choose another "
        "--out, or continue on purpose with --accept-changes (accept_changes=True), which the run records."
    )


def _sampled(split: Split) -> str:
    """Return a digest of the shape of all images and the pixels of a few of them."""
    n = len(split)
    places = torch.linspace(0, n - 1, min(n, SAMPLE), dtype=torch.float64).round().long().unique()
    return _digest(split.images[places].contiguous().numpy().data, str(tuple(split.images.shape)).encode())


def _digest(*parts: bytes | memoryview) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    return digest.hexdigest()[:16]
