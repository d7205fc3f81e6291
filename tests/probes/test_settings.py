from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from monitor.core.probe import Fault, ProbeContext, ProbeError, Reading
from monitor.probes.settings import PROBE, SettingsOptions
from tests.probing import NOW

EXPECT = {"SF_EVENTS_ENABLED": True, "SF_EVENTS_REPLAY": "LATEST", "AUTH_BLACKLIST_FAIL_CLOSED": "true"}
ENV = """\
# the BFF of production
DATABASE_URL=postgresql://portal:canary-password@db/portal
export SF_EVENTS_ENABLED="true"   # do not touch
SF_EVENTS_REPLAY = ALL
AUTH_BLACKLIST_FAIL_CLOSED=false # for now
"""


async def look(path: Path, expect: object = None) -> Reading:
    options = SettingsOptions.model_validate({"path": str(path), "expect": expect or EXPECT})
    return await PROBE.run(options, ProbeContext("bff_env", NOW, 5.0))


async def failure(path: Path) -> ProbeError:
    with pytest.raises(ProbeError) as caught:
        await look(path)
    return caught.value


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "bff.env").write_text(ENV)
    return tmp_path / "bff.env"


async def test_listed_switches_are_shown_and_nothing_else(file: Path) -> None:
    reading = await look(file)
    assert reading.details == {
        "SF_EVENTS_ENABLED": "true", "SF_EVENTS_REPLAY": "ALL", "AUTH_BLACKLIST_FAIL_CLOSED": "false"
    }  # fmt: skip
    assert reading.measurements == {
        "as_expected": {"SF_EVENTS_ENABLED": 1.0, "SF_EVENTS_REPLAY": 0.0, "AUTH_BLACKLIST_FAIL_CLOSED": 0.0}
    }
    assert "canary" not in repr(reading)


async def test_what_is_not_set_is_no_verdict(file: Path) -> None:
    file.write_text("NODE_ENV=production\nSF_EVENTS_ENABLED=1\n")
    reading = await look(file)
    assert reading.measurements == {"as_expected": {"SF_EVENTS_ENABLED": 1.0}}
    assert reading.details["SF_EVENTS_REPLAY"] == "not set"


@pytest.mark.parametrize(
    ("line", "as_expected"),
    [("X=yes", 1.0), ("X='on'", 1.0), ("X=0", 0.0), ("X=", 0.0), ("X=true\nX=false", 0.0), ("X=a#b", 0.0)],
)
async def test_words_are_read_as_the_bff_would(file: Path, line: str, as_expected: float) -> None:
    file.write_text(f"{line}\n")
    assert (await look(file, {"X": "true"})).measurements == {"as_expected": {"X": as_expected}}


async def test_what_may_be_anything_is_shown_and_not_judged(file: Path) -> None:
    reading = await look(file, {"SF_EVENTS_REPLAY": "any"})
    assert (reading.details, reading.measurements) == ({"SF_EVENTS_REPLAY": "ALL"}, {})


async def test_a_long_value_is_not_shown_whole(file: Path) -> None:
    file.write_text("SF_EVENTS_REPLAY=" + "x" * 1000)
    assert len((await look(file)).details["SF_EVENTS_REPLAY"]) == 40


async def test_settings_that_cannot_be_seen_are_ours(tmp_path: Path) -> None:
    error = await failure(tmp_path / "elsewhere.env")
    assert (error.reason, PROBE.reason(error.reason).fault) == ("not-visible", Fault.ACCESS)
    assert error.detail == "No such file or directory"


@pytest.mark.parametrize("content", [b"", b"no settings\n", b"A=b\0", b"A=" + b"x" * 300_000])
async def test_what_is_no_env_file_is_told(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    error = await failure(file)
    assert (error.reason, PROBE.reason(error.reason).fault) == ("not-settings", Fault.ACCESS)


@pytest.mark.parametrize("name", ["DATABASE_URL", "WHMCS_API_SECRET", "JWT_KEY", "REDIS_PASSWORD", "CSRF_TOKEN", "a b"])
def test_secrets_cannot_be_listed(name: str) -> None:
    with pytest.raises(ValidationError):
        SettingsOptions.model_validate({"path": "bff.env", "expect": {name: "x"}})
