"""The roles of a method's teachers: which it has, which may be missing, and whose layers it reads."""

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from .._internal.adapter import check_module
from .._internal.checks import layer_of
from .method import Method

__all__ = ["FLAGS", "check_layers", "check_roles", "flag", "name_of", "teachers_of"]

FLAGS = {"robust": "--teacher", "clean": "--clean-teacher"}  # of the command line, for the roles with a short one


def flag(role: str) -> str:
    """The option of the command line that names the teacher of a role."""
    return FLAGS.get(role, f"--teachers.{role}")


def name_of(method: Method, role: str | None = None) -> str:
    """The class of a method; of a sum the first part's, or the first's that has a teacher of this role."""
    part = next((part for part in method.parts if role in part.teachers), method.parts[0])
    return type(part).__name__


def check_roles(method: Method, given: Iterable[str], named: Iterable[str] = ()) -> None:
    """Raise ValueError where a method does not use a given role, or teaches itself and a recipe names a teacher."""
    for role in named if method.own_teacher else ():
        raise ValueError(
            f"{name_of(method)} {method.own_teacher}, and would not ask the {role} teacher. Leave out {flag(role)}, or "
            "choose a method that has a teacher."
        )
    for role in given:
        if role not in method.teachers:
            roles = f"its roles are {', '.join(method.teachers)}" if method.teachers else "it has no teacher"
            raise ValueError(f"{name_of(method)} has no role {role!r} for a teacher; {roles}.")


def teachers_of(method: Method, given: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """The networks of the method's roles, by role.

    Raises ValueError where one is missing that is not optional, or is no module.
    """
    for role in method.teachers:
        if role not in given and role not in method.optional:
            like = f"{role}, a module like the student" if role in method.trained else ""
            hint = FLAGS.get(role) or like or f"teachers={{{role!r}: ...}}, or {flag(role)} REFERENCE"
            others = f" (of {' and '.join(method.teachers)})" if len(method.teachers) > 1 else ""
            raise ValueError(f"{name_of(method, role)} needs a {role} teacher{others}; it is missing. Give {hint}.")
    found = {role: given[role] for role in method.teachers if role in given}
    for role, network in found.items():
        check_module(f"{role} teacher", network)
    return found


def check_layers(method: Method, layers: Mapping[str, Sequence[str]], networks: Mapping[str, nn.Module]) -> None:
    """Raise ValueError where a method reads a layer that a network, by role, does not have."""
    for role, names in layers.items():
        if role not in networks and role not in method.optional:
            raise ValueError(f"{name_of(method)} reads layers of {role!r}, which is none of its teachers.")
        for name in names if role in networks else ():
            layer_of(networks[role], name, role)
