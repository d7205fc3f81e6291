"""What must survive a restart, in one SQLite file with one writer."""

from monitor.store.sqlite import (
    Changes,
    Locked,
    Saved,
    SavedProbe,
    Store,
    StoreError,
    backup,
    buckets,
    incidents_since,
    read,
)

__all__ = [
    "Changes",
    "Locked",
    "Saved",
    "SavedProbe",
    "Store",
    "StoreError",
    "backup",
    "buckets",
    "incidents_since",
    "read",
]
