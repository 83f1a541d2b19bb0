"""A network that an attack runs at every k-th of its steps; in between its last answer is extended linearly."""

from collections.abc import Callable

from torch import Tensor

__all__ = ["Extended"]


class Extended:
    """A network that is run at every k-th of the images that require gradients; in between it is

        T~(x') = T(x_r) + u <J^T u, x' - x_r>,   u = v / |v|,   J = dT/dx at x_r

    x_r is where it was run last, and v the gradient of the attack's objective with respect to T(x_r). The attack has
    sent v back through the network already, so that the row J^T u costs nothing; the other directions of the logits,
    which the objective did not ask for at x_r, stay at T(x_r). Where the network is run, value and gradient are its
    own, and so they are for images that require no gradient. Products are taken in the images' precision, whatever the
    network's.

    Args:
        network: images `[B, C, H, W]` to logits `[B, K]`, an image's independent of the others'.
        every: k, at least 1; 1 is the network itself.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], every: int):
        self.network, self.every = network, every
        self.calls = 0
        self.around: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return self.network(x)
        due = self.calls % self.every == 0
        self.calls += 1
        return self._run(x) if due or self.around is None else self._extend(x, *self.around)

    def _run(self, x: Tensor) -> Tensor:
        inside = x.view_as(x)  # its gradient is the network's share; that of x is the whole objective's
        logits = self.network(inside)
        if logits.requires_grad:
            at, base = x.detach(), logits.detach()  # hooks that held the graph would keep it alive
            sent: list[Tensor] = []
            logits.register_hook(sent.append)
            inside.register_hook(lambda slope: self._learn(at, base, sent[-1], slope))
        return logits

    def _learn(self, at: Tensor, base: Tensor, asked: Tensor, slope: Tensor) -> None:
        length = asked.norm(dim=1, keepdim=True).clamp(min=1e-12)
        self.around = at, base, asked / length, slope.flatten(1) / length

    def _extend(self, x: Tensor, at: Tensor, base: Tensor, direction: Tensor, row: Tensor) -> Tensor:
        return base + direction * (row * (x - at).flatten(1)).sum(1, keepdim=True)
