"""Plug-ins: names that installed packages add to edgefed's own through entry points.

A package declares a name under, say, ``[project.entry-points."edgefed.remedies"]``, and from then on it is a value of
the setting ``imbalance``, listed and checked as edgefed's own names are. docs/plugins.md has a whole package.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Generic, TypeVar, cast

from edgefed.errors import SettingsError, shown

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.metadata import EntryPoint

T = TypeVar("T")

NAME = re.compile("[a-z0-9]+(-[a-z0-9]+)*")
"""What a plug-in may be called: a name stands in settings, in tables and in folders' names."""


class Registry(Mapping[str, T], Generic[T]):
    """Names of one kind: edgefed's own, and what installed packages add under an entry-point group.

    It reads as the dict of its own names until another name is asked for or all are gone through: only then are
    the installed packages looked at, once, since what is installed does not change under a running process. A
    plug-in's package is imported when the plug-in is used or described, not before. Edgefed's own names come first,
    in the order given, then plug-ins by name.

    Parameters
    ----------
    group : str
        The entry-point group.
    own : mapping of str to T
        Edgefed's own names: they cannot be replaced.
    base : type, optional
        What a plug-in has to be a subclass of; without it, a plug-in has to be callable.
    """

    def __init__(self, group: str, own: Mapping[str, T], base: type | None = None) -> None:
        self.group = group
        self.own = own
        self._base = base
        self._loaded: dict[str, T] = {}

    def __getitem__(self, name: str) -> T:
        try:
            return self.own[name]
        except KeyError:
            pass
        if name not in self._loaded:
            if name not in self._offers:
                raise KeyError(name)
            self._loaded[name] = self._load(name)
        return self._loaded[name]

    def __contains__(self, name: object) -> bool:
        return name in self.own or name in self._offers

    def __iter__(self) -> Iterator[str]:
        yield from self.own
        yield from sorted(self._offers.keys() - self.own.keys())

    def __len__(self) -> int:
        return len(self.own) + len(self._offers.keys() - self.own.keys())

    @cached_property
    def _offers(self) -> dict[str, tuple[EntryPoint, ...]]:
        """The entry points of the group by name."""
        from importlib.metadata import entry_points  # slow to import, and only needed here

        offers: dict[str, tuple[EntryPoint, ...]] = {}
        for offer in entry_points(group=self.group):
            offers[offer.name] = (*offers.get(offer.name, ()), offer)
        return offers

    def package(self, name: str) -> str:
        """Return the package and version that a plug-in comes from; empty for a name of edgefed's own."""
        return "" if name in self.own else " and ".join(map(_package, self._offers[name]))

    def line(self, name: str) -> str:
        """Return the line that describes a name: its docstring's first, and the package of a plug-in.

        A plug-in that cannot be used gets the reason for its line: one bad package hides no other.
        """
        if clash := self.clash(name):
            return f"cannot be used: {clash}"
        try:
            found = self[name]
            first = (found.__doc__ or "").strip().partition("\n")[0]
        except SettingsError as reason:
            return f"cannot be used: {reason}"
        package = self.package(name)
        if package:
            return f"{first} ({package})".lstrip()
        full = next(other for other, own in self.own.items() if own is found)
        return first if full == name else f"another name of {full}: {first}"

    def clash(self, name: str) -> str:
        """Return why a name of edgefed's own that an installed package claims as well is refused; empty for others.

        Nobody is to take edgefed's for the package's, or the other way round.
        """
        if name not in self.own or name not in self._offers:
            return ""
        packages = " and ".join(map(_package, self._offers[name]))
        return (
            f"'{name}' is edgefed's own, and {packages} registers it as well ({self.group}): "
            "rename it there, or uninstall that package"
        )

    def _load(self, name: str) -> T:
        offers = self._offers[name]
        given = f"the plug-in '{shown(name)}' of {self.package(name)} ({self.group})"
        if not NAME.fullmatch(name):
            raise SettingsError(f"{given}: expected a name of lower-case letters, digits and single dashes")
        if len(offers) > 1:
            raise SettingsError(f"{given} comes from more than one package: uninstall all but one")
        try:
            found = offers[0].load()
        except Exception as error:  # whatever somebody's module does when imported
            reason = " ".join(str(error).split())
            raise SettingsError(f"{given} cannot be imported ({type(error).__name__}: {reason})") from error
        if self._base is None and not callable(found):
            raise SettingsError(f"{given} is no function: found {type(found).__name__}")
        if self._base is not None and not (isinstance(found, type) and issubclass(found, self._base)):
            expected = f"{self._base.__module__}.{self._base.__qualname__}"
            raise SettingsError(f"{given} is no subclass of {expected}: found {shown(found)}")
        return cast("T", found)


def _package(offer: EntryPoint) -> str:
    return f"{offer.dist.name} {offer.dist.version}" if offer.dist is not None else "an unknown package"
