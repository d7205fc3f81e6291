"""The scenario's diagnosis already run: the live values behind each step of the runbook, read-only and masked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from monitor.alerting.facts import WITHHELD, Facts, capped, clock
from monitor.core.condition import Condition
from monitor.core.incident import Incident
from monitor.core.probe import Value
from monitor.core.quantity import format_duration
from monitor.core.runbook import Level, Scenario, Step
from monitor.core.snapshot import ProbeView
from monitor.core.wording import fill
from monitor.core.words import advice, label, quantity
from monitor.logs.mask import mask

MOST_FINDINGS = 6
MOST_PARTS = 5
SHOWN_CHARACTERS = 160  # of one detail of a run
ENVIRONMENT = "bff_env"  # `show: bff_env.NAME` of a step


def diagnosis(item: Incident, facts: Facts) -> str:
    """What was found: what must not be overlooked, what fails and how, each step with its value, what to read."""
    scenario = facts.scenario(item)
    if scenario is None:
        return ""
    if facts.redacted(item):
        return capped("\n".join([f"Details are {WITHHELD}.", *_steps(scenario, facts, live=False)]))
    views = probes_of(scenario, facts)
    bad = [view for view in views if view.level is not Level.OK]
    lines = [f"!! {flag}" for flag in facts.flags(item)]
    lines += [line for view in bad[:MOST_FINDINGS] for line in _finding(view, facts)]
    if len(bad) > MOST_FINDINGS:
        lines.append(f"and not well: {', '.join(view.config.name for view in bad[MOST_FINDINGS:])}")
    lines += _steps(scenario, facts, live=True)
    if links := facts.links(item):
        lines.append(f"Read: {', '.join(links)}")
    if well := [view.config.name for view in views if view.level is Level.OK]:
        lines.append(f"Well: {', '.join(well)}")
    return capped("\n".join(lines))


def probes_of(scenario: Scenario, facts: Facts) -> list[ProbeView]:
    """The probes that run and that its rules or its steps speak of."""
    return [facts.probes[name] for name in names_of(scenario) if _runs(facts.probes.get(name))]


def names_of(scenario: Scenario) -> list[str]:
    """The probes that a scenario's rules speak of, then those that its steps show."""
    names = dict.fromkeys(term.name for rule in scenario.rules for term in rule.terms if term.kind == "probe")
    shown = (step.show.partition(".")[0] for step in scenario.steps if step.show)
    return list(names | dict.fromkeys(name for name in shown if name != ENVIRONMENT))


def found(failing: Iterable[tuple[float | None, ProbeView]], now: float) -> str:
    """What fails at this moment, in the order in which it began, in one line: for the timeline.

    `failing`: each probe that is not well, and since when it has failed (wall seconds), if it has.
    """
    ordered = sorted(failing, key=lambda each: (each[0] is None, each[0] or 0.0))
    return "; ".join(_in_short(view, since, now) for since, view in ordered[: 2 * MOST_FINDINGS])


def _in_short(view: ProbeView, since: float | None, now: float) -> str:
    told = f"{view.config.name} {view.level.value}"
    told += f", {view.reason}" if view.reason else ""
    conditions = view.config.warn if view.level is Level.WARN else view.config.fail
    broken = next((one for one in conditions if one.why == view.reason), None)
    if broken is not None and view.result is not None and broken.name in view.result.measurements:
        told += f" ({_measured(broken.name, view.result.measurements[broken.name])}, limit {_limit(broken)})"
    return told if since is None else f"{told}, for {format_duration(round(max(0.0, now - since)))}"


def _runs(view: ProbeView | None) -> bool:
    return view is not None and view.config.enabled


def _finding(view: ProbeView, facts: Facts) -> Iterator[str]:
    """One probe that is not well: level and why, what to look at, what it measures against which limits."""
    result = view.result
    yield f"{_level(view, facts)}" + (f" ({clock(result.at, facts.now)})" if result is not None else "")
    if said := advice(view):
        yield f"  {facts.said(said)}"
    if result is None:
        return
    for name in dict.fromkeys(condition.name for condition in (*view.config.fail, *view.config.warn)):
        if name in result.measurements:
            yield f"  {_against(view, name)}"
    for name, good in result.checks.items():
        yield f"  {name}: {'ok' if good else 'fail'}"
    for name, text in result.details.items():
        yield f"  {name}: {_text(view, text, facts)}"


def _level(view: ProbeView, facts: Facts) -> str:
    told = f"{view.config.name}: {view.level.value}" + (f", {view.reason}" if view.reason else "")
    detail = view.result.detail if view.result is not None else ""
    return f"{told} ({_text(view, detail, facts)})" if detail and view.level is not Level.OK else told


def _steps(scenario: Scenario, facts: Facts, *, live: bool) -> Iterator[str]:
    for number, step in enumerate(scenario.steps, 1):
        told = f"{number}. {fill(step.do, facts.probes)}"
        value = shown(step, facts) if live else ""
        yield f"{told} => {value}" if value else told


def shown(step: Step, facts: Facts) -> str:
    """The live value of what a step shows; empty where it shows nothing."""
    if not step.show:
        return ""
    name, _, measurement = step.show.partition(".")
    if name == ENVIRONMENT and measurement:
        held = facts.setting(measurement)
        return f"{measurement} not visible" if held is None else f"{measurement}={facts.said(held, 60)}"
    view = facts.probes.get(name)
    if not _runs(view) or view is None:
        return f"{name} is switched off" if view is not None else f"{name} is not watched"
    if not measurement:
        return _level(view, facts)
    if view.result is None or measurement not in view.result.measurements:
        why = f" ({view.reason})" if view.reason else ""
        return f"{label(measurement)} not measured; {name} is {view.level.value}{why}"
    return _against(view, measurement)


def _against(view: ProbeView, name: str) -> str:
    """`memory used 88 % (warn > 80%, fail > 95%)`"""
    assert view.result is not None
    told = f"{label(name)} {_measured(name, view.result.measurements[name])}"
    limits = [
        f"{level} {_limit(condition)}"
        for level, conditions in (("warn", view.config.warn), ("fail", view.config.fail))
        for condition in conditions
        if condition.name == name
    ]
    return f"{told} ({', '.join(limits)})" if limits else told


def _limit(condition: Condition) -> str:
    """`> 80%`, or `[refused] > 30` of one part."""
    part = f"[{condition.part}] " if condition.part else ""
    return f"{part}{condition.op} {condition.text.partition(condition.op)[2].strip()}"


def _measured(name: str, value: Value) -> str:
    if not isinstance(value, Mapping):
        return quantity(name, value)
    parts = [f"{part or 'all'} {quantity(name, number)}" for part, number in list(value.items())[:MOST_PARTS]]
    return ", ".join(parts) + (", …" if len(value) > MOST_PARTS else "")


def _text(view: ProbeView, text: str, facts: Facts) -> str:
    """A text of a run; of a log, without what identifies anybody."""
    if view.config.type.name == "log":
        text = mask(text, SHOWN_CHARACTERS)
    return facts.said(text, SHOWN_CHARACTERS)
