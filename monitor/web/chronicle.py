"""The JSON of a probe's history: buckets, its limits beside them, and its latest runs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from typing_extensions import TypedDict

from monitor.core import history
from monitor.core.config import ProbeConfig
from monitor.core.history import Bucket, Spread
from monitor.core.runbook import Level
from monitor.core.snapshot import ProbeView
from monitor.core.words import clean, iso
from monitor.web.api import Number, measurements_json


class SpreadJson(TypedDict):
    """What one measurement was over some time. Quantiles are good to two percent."""

    count: int
    low: float
    mean: float
    high: float
    p50: float
    p95: float
    p99: float


class BucketJson(TypedDict):
    """All runs that began within `bucket_seconds` from `at`. `breaches`: levels newly confirmed, by `LEVEL WHY`."""

    at: str
    level: str
    runs: int
    failures: int
    errors: int
    measured: dict[str, SpreadJson]
    breaches: dict[str, int]


class LimitJson(TypedDict):
    """One limit beside what was measured: which share of all runs lies beyond it, how often its level was confirmed."""

    text: str
    level: str
    measurement: str
    measured: SpreadJson | None
    share_beyond: float
    breaches: int


class HistoryJson(TypedDict):
    """The history of one probe, oldest bucket first."""

    name: str
    since: str
    until: str
    bucket_seconds: int
    limits: list[LimitJson]
    buckets: list[BucketJson]


class RunJson(TypedDict):
    """One run of a probe, and the level that the probe had after it."""

    number: int
    at: str
    level: str
    outcome: str
    reason: str
    detail: str
    duration_seconds: float
    waited_seconds: float
    measurements: dict[str, Number]
    checks: dict[str, bool]
    details: dict[str, str]


def history_json(config: ProbeConfig, buckets: Sequence[Bucket], since: float, until: float) -> HistoryJson:
    """A probe's history from one wall time to another, and its limits beside it."""
    return {
        "name": config.name,
        "since": iso(since),
        "until": iso(until),
        "bucket_seconds": history.resolution(until - since),
        "limits": [
            {
                "text": one.condition.text,
                "level": one.level,
                "measurement": one.condition.why,
                "measured": _spread(one.spread) if one.spread else None,
                "share_beyond": one.share,
                "breaches": one.breaches,
            }
            for one in history.judgements(config, buckets)
        ],
        "buckets": [
            {
                "at": iso(bucket.at),
                "level": (bucket.level or Level.UNKNOWN).value,
                "runs": bucket.runs,
                "failures": bucket.failures,
                "errors": bucket.errors,
                "measured": {name: _spread(spread) for name, spread in bucket.measured.items()},
                "breaches": dict(bucket.breaches),
            }
            for bucket in buckets
        ],
    }


def _spread(spread: Spread) -> SpreadJson:
    return {
        "count": spread.count,
        "low": spread.low,
        "mean": spread.mean,
        "high": spread.high,
        "p50": spread.quantile(0.5),
        "p95": spread.quantile(0.95),
        "p99": spread.quantile(0.99),
    }


def runs_json(view: ProbeView, secrets: Iterable[str] = ()) -> list[RunJson]:
    """The latest runs, and older ones that ended otherwise than the one before them; newest first."""
    runs = {run.number: run for run in (*view.past.turns, *view.past.runs)}
    return [
        {
            "number": run.number,
            "at": iso(run.result.at),
            "level": run.level.value,
            "outcome": run.result.outcome.value,
            "reason": run.result.reason,
            "detail": clean(run.result.detail, secrets),
            "duration_seconds": run.result.duration_seconds,
            "waited_seconds": run.result.waited_seconds,
            "measurements": measurements_json(run.result.measurements),
            "checks": dict(run.result.checks),
            "details": {key: clean(text, secrets) for key, text in run.result.details.items()},
        }
        for _, run in sorted(runs.items(), reverse=True)
    ]
