"""The probe types: one file per `type:` of probes.yaml. Dropping in a file is all it takes to add one."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import import_module
from pkgutil import iter_modules
from types import MappingProxyType

from monitor.core.probe import ProbeType


@cache
def discover() -> Mapping[str, ProbeType]:
    """Every probe type by name. A file whose name begins with `_` holds what several types share."""
    names = sorted(module.name for module in iter_modules(__path__) if not module.name.startswith("_"))
    types = {name: import_module(f"{__name__}.{name}").PROBE for name in names}
    for name, probe_type in types.items():
        if probe_type.name != name:
            raise TypeError(f'monitor/probes/{name}.py declares the type "{probe_type.name}"')
    return MappingProxyType(types)
