"""All settings of a training run, from several records, as one list of names."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Self

from ..common.errors import InputError
from ..common.settings_record import SettingsRecord


class Configuration:
    """Settings records by what they are for; every name occurs once.

    :param method: what is trained, for messages and provenance.
    :param preset: where the values come from.
    """

    def __init__(self, method: str, preset: str, **records: SettingsRecord):
        self.method, self.preset, self._records = method, preset, records
        names = [f.name for r in records.values() for f in dataclasses.fields(r)]
        twice = next((n for n in names if names.count(n) > 1), None)
        if twice:
            raise ValueError(f"two settings records have a field {twice}")

    def __getitem__(self, record: str) -> SettingsRecord:
        return self._records[record]

    @property
    def records(self) -> dict[str, SettingsRecord]:
        return dict(self._records)

    def replaced(self, **values) -> Self:
        """A copy with these settings. Raises InputError for unknown names and wrong values."""
        known = self.as_dict()
        unknown = next((n for n in values if n not in known), None)
        if unknown is not None:
            raise InputError(f"there is no setting {unknown!r} for {self.method}; there are {', '.join(known)}")
        records = {
            key: dataclasses.replace(r, **{n: v for n, v in values.items() if hasattr(r, n)})
            for key, r in self._records.items()
        }
        return type(self)(self.method, self.preset, **records)

    def with_texts(self, assignments: list[str]) -> Self:
        """A copy with ``name=value`` texts applied. Raises InputError for unknown names and wrong values."""
        known = self.as_dict()
        records = dict(self._records)
        for text in assignments:
            name = text.partition("=")[0].strip().replace("-", "_")
            if "=" not in text or name not in known:
                raise InputError(
                    f"setting {text!r} is not understood; write name=value with a name of: {', '.join(known)}"
                )
            key = next(k for k, r in records.items() if hasattr(r, name))
            records[key] = records[key].with_texts([text])
        return type(self)(self.method, self.preset, **records)

    def as_dict(self) -> dict:
        """All settings by name, plain values for JSON."""
        values = {n: v for r in self._records.values() for n, v in dataclasses.asdict(r).items()}
        return {n: list(v) if isinstance(v, tuple) else v for n, v in values.items()}

    def with_kept(self, kept: Mapping) -> Self:
        """A copy with the settings of :meth:`as_dict` that a run has kept. Raises InputError if they are of another method."""
        known = self.as_dict()
        if kept.keys() != known.keys():
            other = sorted(kept.keys() ^ known.keys())
            raise InputError(
                f"the run was begun with other settings than {self.method} has ({', '.join(other[:4])}): begin anew in another folder"
            )
        return self.replaced(**{n: tuple(v) if isinstance(v, list) else v for n, v in kept.items()})
