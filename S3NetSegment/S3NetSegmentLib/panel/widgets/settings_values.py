"""Settings as defaults and what differs from them; needs no widgets."""

from __future__ import annotations

import dataclasses

from slicer.i18n import tr as _

from ...engine import InputError


def changed_settings(defaults, changes: dict):
    """The settings record ``defaults`` with ``changes`` (name -> value; tuples may be lists, as JSON has them) applied.

    :raises InputError: unknown names or values out of range.
    """
    known = {field.name for field in dataclasses.fields(defaults)}
    unknown = set(changes) - known
    if unknown:
        raise InputError(
            _("there is no setting {unknown}; the settings are: {known}").format(
                unknown=", ".join(sorted(unknown)), known=", ".join(sorted(known))
            )
        )
    values = {name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()}
    return dataclasses.replace(defaults, **values)
