"""Methods by name."""

from __future__ import annotations

from ..errors import MergeError, nearest
from . import methods
from ._method import Method

_METHODS: dict[str, Method] = {}
for _name in methods.__all__:
    _one = getattr(methods, _name)()
    _METHODS[_one.name] = _one


def available() -> list[str]:
    """The names a plan's ``merge_method`` may have, sorted."""
    return sorted(_METHODS)


def method(name: str) -> Method:
    """A method by name; raises :class:`MergeError` for an unknown one, with the nearest known."""
    if name not in _METHODS:
        raise MergeError(f'merging method "{name}" is not known; {nearest(str(name), available())}')
    return _METHODS[name]


def register(new: Method) -> Method:
    """Make a method of your own available to plans; raises :class:`MergeError` for a name that is taken."""
    if new.name in _METHODS:
        raise MergeError(f'a merging method "{new.name}" exists already: give yours another name')
    _METHODS[new.name] = new
    return new


def all_parameters() -> list[str]:
    """Every parameter of every method."""
    return sorted({p.name for m in _METHODS.values() for p in m.parameters})
