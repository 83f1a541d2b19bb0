"""The roles of a method's teachers: which exist, which may be missing, and which layers the method reads."""

from collections.abc import Iterable, Mapping, Sequence

from torch import nn

from .._internal.adapter import check_module
from .._internal.checks import layer_of
from .method import Method

__all__ = ["FLAGS", "check_layers", "check_roles", "flag", "name_of", "teachers_of"]

FLAGS = {"robust": "--teacher", "clean": "--clean-teacher"}  # short command-line options


def flag(role: str) -> str:
    """Return the command-line option that names the teacher of a role."""
    return FLAGS.get(role, f"--teachers.{role}")


def name_of(method: Method, role: str | None = None) -> str:
    """Return a method's class name; for a sum, that of the first part with this role, or else of the first part."""
    part = next((part for part in method.parts if role in part.teachers), method.parts[0])
    return type(part).__name__


def check_roles(method: Method, given: Iterable[str], named: Iterable[str] = ()) -> None:
    """Raise ValueError if a method does not use a given role, or teaches itself and a recipe names a teacher."""
    for role in named if method.own_teacher else ():
        raise ValueError(
            f"{name_of(method)} {method.own_teacher}, and does not use the {role} teacher. Leave out {flag(role)}, or "
            "choose a method that has a teacher."
        )
    for role in given:
        if role not in method.teachers:
            roles = f"its roles are {', '.join(method.teachers)}" if method.teachers else "it has no teacher"
            raise ValueError(f"{name_of(method)} has no role {role!r} for a teacher; {roles}.")


def teachers_of(method: Method, given: Mapping[str, nn.Module]) -> dict[str, nn.Module]:
    """Return the networks of the method's roles, by role.

    Raises ValueError if a teacher that is not optional is missing, or if a teacher is not a module.
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
    """Raise ValueError if a method reads layers of an unknown role, or a layer that a network does not have."""
    for role, names in layers.items():
        if role not in networks and role not in method.optional:
            raise ValueError(f"{name_of(method)} reads layers of {role!r}, which is none of its teachers.")
        for name in names if role in networks else ():
            layer_of(networks[role], name, role)
