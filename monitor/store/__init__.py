"""What must survive a restart, in one SQLite file with one writer."""

from monitor.store.sqlite import (
    AT_HAND_SECONDS,
    Changes,
    Locked,
    Record,
    Saved,
    SavedProbe,
    Store,
    StoreError,
    backup,
    buckets,
    incidents_since,
    pages_since,
    read,
    record,
    timelines_since,
)

__all__ = [
    "AT_HAND_SECONDS",
    "Changes",
    "Locked",
    "Record",
    "Saved",
    "SavedProbe",
    "Store",
    "StoreError",
    "backup",
    "buckets",
    "incidents_since",
    "pages_since",
    "read",
    "record",
    "timelines_since",
]
