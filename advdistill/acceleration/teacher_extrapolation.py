"""A teacher that an attack queries at every k-th step only; in between its logits are extrapolated linearly."""

from collections.abc import Callable

from torch import Tensor

__all__ = ["Extrapolated"]


class Extrapolated:
    """A network that runs only at every k-th call with images that require gradients; at other calls its logits are

        T~(x') = T(x_r) + u <J^T u, x' - x_r>,   u = v / |v|,   J = dT/dx at x_r

    x_r is where the network last ran, and v the gradient of the attack's objective with respect to T(x_r). The attack
    has propagated v back through the network anyway, so the row J^T u costs nothing; in the other directions of the
    logits, along which the objective has no gradient at x_r, T~ stays at T(x_r). In calls that run the network, and for
    images that require no gradient, value and gradient are the network's own. Products are computed in the images'
    precision, whatever the network's precision is.

    Args:
        network: images `[B, C, H, W]` to logits `[B, K]`; one image's logits do not depend on the others.
        every: k, at least 1; 1 is the network itself.
    """

    def __init__(self, network: Callable[[Tensor], Tensor], every: int):
        self.network, self.every = network, every
        self.calls = 0
        self.expansion: tuple[Tensor, Tensor, Tensor, Tensor] | None = None

    def __call__(self, x: Tensor) -> Tensor:
        if not x.requires_grad:
            return self.network(x)
        due = self.calls % self.every == 0
        self.calls += 1
        return self._run(x) if due or self.expansion is None else self._extrapolate(x, *self.expansion)

    def _run(self, x: Tensor) -> Tensor:
        inside = x.view_as(x)  # its gradient comes through the network alone, that of x through the whole objective
        logits = self.network(inside)
        if logits.requires_grad:
            at, base = x.detach(), logits.detach()  # hooks that held the graph would keep it alive
            gradients: list[Tensor] = []
            logits.register_hook(gradients.append)
            inside.register_hook(lambda slope: self._expand(at, base, gradients[-1], slope))
        return logits

    def _expand(self, at: Tensor, base: Tensor, v: Tensor, slope: Tensor) -> None:
        length = v.norm(dim=1, keepdim=True).clamp(min=1e-12)
        self.expansion = at, base, v / length, slope.flatten(1) / length

    def _extrapolate(self, x: Tensor, at: Tensor, base: Tensor, direction: Tensor, row: Tensor) -> Tensor:
        return base + direction * (row * (x - at).flatten(1)).sum(1, keepdim=True)
