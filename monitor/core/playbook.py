"""runbook.yaml made into a `Runbook`, checked against the probes that its rules speak of."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from monitor.core.circles import circles, in_order
from monitor.core.config import ProbeConfig
from monitor.core.keys import (
    NAME,
    NAME_RULE,
    ContactKeys,
    DeclaredKeys,
    EscalationKeys,
    MessagesKeys,
    RuleKeys,
    RunbookKeys,
    ScenarioKeys,
    VendorKeys,
)
from monitor.core.level import RUN
from monitor.core.mistakes import suggestion, validated
from monitor.core.phrasing import wording_mistakes
from monitor.core.probe import TIMEOUT, Fault
from monitor.core.quantity import format_duration
from monitor.core.runbook import (
    OTHER,
    Contact,
    CustomerText,
    Declared,
    EscalationRow,
    Level,
    Lifecycle,
    Notes,
    ReviewRule,
    Rule,
    Runbook,
    Scenario,
    Severity,
    SeverityRow,
    Step,
    Term,
    Vendor,
    Wording,
)
from monitor.core.source import Document, Path, Problem
from monitor.core.wording import show_mistakes, template_mistakes

LEVELS = ("L1", "L2", "L3", "L4")

_TERM = re.compile(r"(?P<name>[^/@\s]+)(?:/(?P<why>[^@\s]+))?(?:@(?P<at>\w*))?")
_SCENARIO_TERM = re.compile(r"scenario:(?P<name>[^@\s]*)(?:@(?P<severity>\w*))?")


def read_runbook(
    document: Document, probes: Mapping[str, ProbeConfig], names: Sequence[str], *, whole: bool = True
) -> tuple[Runbook | None, list[Problem], list[Problem]]:
    """The runbook, its problems and its warnings.

    `names` are all the probes of probes.yaml, `probes` those of them that could be read. Where they are not all
    (`whole` is false), nothing is said of probes that no rule names.
    """
    reader = _RunbookReader(document, probes, names)
    runbook = reader.runbook(whole=whole and len(probes) == len(names))
    return runbook, [*document.problems, *reader.problems], reader.warnings


@dataclass(slots=True)
class _RunbookReader:
    """Reads one runbook.yaml, collecting what is wrong with it on the way."""

    document: Document
    probes: Mapping[str, ProbeConfig]
    names: Sequence[str]
    problems: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)

    def runbook(self, *, whole: bool) -> Runbook | None:
        keys = validated(RunbookKeys, self.document.value, self.document, (), self.problems)
        if keys is None:
            self._check_terms()
            return None
        severities = {
            Severity[name]: SeverityRow(row.name, row.respond, row.update_every, row.customer_comms, row.review)
            for name, row in keys.severities.items()
            if name in Severity.__members__
        }
        self._check_table("severities", keys.severities, tuple(Severity.__members__), required=Severity.__members__)
        self._check_table("escalation", keys.escalation, LEVELS, required=("L1",))
        escalation = {
            name: EscalationRow(row.to, row.severity, row.unresolved, row.or_declared)
            for name, row in keys.escalation.items()
        }
        scenarios = {name: self._scenario(name, each, keys) for name, each in keys.scenarios.items()}
        self._check_scenarios(keys)
        self._check_messages(keys.messages)
        if self.problems:
            return None
        scenarios = {name: scenarios[name] for name in in_order(_references(scenarios))}
        scenarios[OTHER] = self._other(scenarios, tell=whole)
        self._warn_of_clocks(severities, keys.escalation)
        self._warn_of_placeholders(keys.contacts)
        return Runbook(
            severities=dict(sorted(severities.items())),
            escalation=escalation,
            scenarios=scenarios,
            review=ReviewRule(keys.review.severity, keys.review.within_business_days, keys.review.by),
            lifecycle=Lifecycle(keys.lifecycle.monitor, keys.lifecycle.reopen_within),
            contacts={role: Contact(each.method, each.backup) for role, each in keys.contacts.items()},
            wording=Wording(**keys.messages.model_dump()),
        )

    def _check_table(self, table: str, rows: Iterable[str], known: Sequence[str], required: Iterable[str]) -> None:
        for name in rows:
            if name not in known:
                self._wrong((table, name), f"no such row{suggestion(name, known)}", at_key=True)
        for name in required:
            if name not in rows:
                self._wrong((table, name), "is missing; add this row")

    # one scenario

    def _scenario(self, name: str, keys: ScenarioKeys, runbook: RunbookKeys) -> Scenario:
        path: Path = ("scenarios", name)
        if not NAME.fullmatch(name):
            self._wrong(path, NAME_RULE, at_key=True)
        if name == OTHER:
            self._wrong(path, "this scenario is always there, for probes that no rule names", at_key=True)
        if not keys.rules and keys.declared is None:
            self._wrong(path, "has neither rules nor `declared`, so it never opens", at_key=True)
        self._check_texts(path, keys)
        return Scenario(
            name=name,
            title=keys.title,
            rules=self._rules(path, keys.rules),
            service=keys.service,
            impact=keys.impact,
            customer=CustomerText(keys.customer.what, keys.customer.impact) if keys.customer else None,
            vendor=self._vendor((*path, "vendor"), keys.vendor) if keys.vendor else None,
            declared=self._declared((*path, "declared"), keys.declared, runbook) if keys.declared else None,
            parent_of=keys.parent_of,
            notes=Notes(keys.notes.flag, keys.notes.if_env) if keys.notes else None,
            symptoms=keys.symptoms,
            diagnosis=keys.diagnosis,
            steps=tuple(Step(step.do, step.show, step.remind) for step in keys.steps),
            links=keys.links,
        )

    def _rules(self, path: Path, rules: Sequence[RuleKeys]) -> tuple[Rule, ...]:
        read: dict[str, Rule] = {}
        for index, keys in enumerate(rules):
            where = (*path, "rules", index)
            mode = "any" if keys.any_of is not None else "all"
            terms = self._terms((*where, mode), keys.any_of or keys.all_of or ())
            rule = Rule(keys.severity, terms, "any" if mode == "any" else "all", keys.hold, keys.flag, keys.links)
            if rule.key in read:
                self._wrong(where, "says the same as a rule above, but for its hold; keep one")
            read.setdefault(rule.key, rule)
        return tuple(read.values())

    def _terms(self, path: Path, texts: Sequence[str]) -> tuple[Term, ...]:
        terms = []
        for index, text in enumerate(texts):
            term = self._term(self.document.item(path, index), text)
            if term is not None:
                terms.append(term)
        return tuple(terms)

    def _check_terms(self) -> None:
        """Of a runbook that is wrong otherwise: tell what is wrong with its terms too."""
        scenarios = self.document.value.get("scenarios")
        for path, text in _texts(scenarios if isinstance(scenarios, dict) else {}, ("scenarios",)):
            of_rule = len(path) in {5, 6} and path[2] == "rules" and path[4] in {"any", "all"}
            if of_rule and not self.document.is_broken(path):
                self._term(path, text)

    def _term(self, path: Path, text: str) -> Term | None:
        if text.startswith("scenario:"):
            return self._scenario_term(path, text)
        match = _TERM.fullmatch(text)
        if not match:
            self._wrong(path, f'"{text}" is no term; write redis, redis@warn, postgres/saturated or scenario:redis@P2')
            return None
        name, why = match["name"], match["why"]
        at = match["at"] if match["at"] is not None else "fail"
        allowed = ["warn", "fail"] if why else ["warn", "fail", "unknown"]
        if self.names and name not in self.names:
            self._wrong(path, f'no probe "{name}"{suggestion(name, self.names)}')
            return None
        if at not in allowed:
            self._wrong(path, f'no level "{at}" here{suggestion(at, allowed)}')
            return None
        term = Term(text, "probe", name, why, Level(at))
        probe = self.probes.get(name)
        if why and probe:
            self._check_why(path, probe, term)
        return term

    def _check_why(self, path: Path, probe: ProbeConfig, term: Term) -> None:
        """That the probe can be at this level for this why at all."""
        why = str(term.why)
        if why not in {*probe.whys, RUN}:
            self._wrong(path, f'"{probe.name}" never fails for "{why}"{suggestion(why, {*probe.whys, RUN})}')
        elif why in probe.type.reasons and probe.type.reasons[why].fault is not Fault.TARGET:
            self._warn(path, f'"{why}" makes {probe.name} unknown, not {term.at}; write {probe.name}@unknown')
        elif term.at is Level.FAIL and why not in _fails_for(probe):
            self._warn(path, f'{probe.name} only warns for "{why}"; write {probe.name}/{why}@warn')

    def _scenario_term(self, path: Path, text: str) -> Term | None:
        match = _SCENARIO_TERM.fullmatch(text)
        scenarios = self._scenario_names()
        name, severity = (match["name"], match["severity"]) if match else (text.removeprefix("scenario:"), None)
        if name not in scenarios:
            self._wrong(path, f'no scenario "{name}"{suggestion(name, scenarios)}')
            return None
        if severity is not None and severity not in Severity.__members__:
            self._wrong(path, f'no severity "{severity}"{suggestion(severity, Severity.__members__)}')
            return None
        return Term(text, "scenario", name, severity=Severity[severity] if severity else None)

    def _vendor(self, path: Path, keys: VendorKeys) -> Vendor:
        return Vendor(keys.name, self._terms((*path, "when"), keys.when), keys.unresolved)

    def _declared(self, path: Path, keys: DeclaredKeys, runbook: RunbookKeys) -> Declared:
        for index, level in enumerate(keys.escalate_now):
            if level not in runbook.escalation:
                known = suggestion(level, runbook.escalation)
                self._wrong((*path, "escalate_now", index), f'no level "{level}" in escalation{known}')
        return Declared(
            keys.severity, keys.escalate_now, keys.audience, keys.evidence_hold, keys.redact, keys.customer_comms
        )

    # what scenarios say of each other

    def _scenario_names(self) -> list[str]:
        scenarios = self.document.value.get("scenarios")
        return list(scenarios) if isinstance(scenarios, dict) else []

    def _check_scenarios(self, keys: RunbookKeys) -> None:
        known = [*keys.scenarios, OTHER]
        for name, scenario in keys.scenarios.items():
            for index, child in enumerate(scenario.parent_of):
                path: Path = ("scenarios", name, "parent_of")
                where = self.document.item(path, index)
                if child not in known:
                    self._wrong(where, f'no scenario "{child}"{suggestion(child, known)}')
        parents = {name: each.parent_of for name, each in keys.scenarios.items()}
        for circle in circles(parents):
            chain = " parent of ".join([*circle, circle[0]])
            self._wrong(("scenarios", circle[0], "parent_of"), f"a circle: {chain}; break it")
        references = {
            name: [
                match["name"]
                for rule in each.rules
                for text in (rule.any_of or rule.all_of or ())
                if (match := _SCENARIO_TERM.fullmatch(text))
            ]
            for name, each in keys.scenarios.items()
        }
        for circle in circles(references):
            chain = " speaks of ".join([*circle, circle[0]])
            self._wrong(("scenarios", circle[0], "rules"), f"a circle: {chain}; break it")

    def _other(self, scenarios: Mapping[str, Scenario], *, tell: bool) -> Scenario:
        """The scenario for what no rule names: whole probes, and reasons of probes that rules name in part."""
        terms = [term for each in scenarios.values() for rule in each.rules for term in rule.terms]
        orphans: list[str] = []
        for name, probe in self.probes.items():
            left = _unnamed(probe, terms) if probe.enabled else []
            orphans += left
            if left and tell:
                what = "it" if left == [name] else f"its {', '.join(text.partition('/')[2] for text in left)}"
                self._warn(("scenarios",), f'no rule names the probe "{name}": {what} opens P3 in "{OTHER}"')
        rules = (Rule(Severity.P3, tuple(_plain_term(text) for text in orphans), "any"),) if orphans else ()
        return Scenario(OTHER, "Another probe fails", rules, service="what the probe watches")

    # texts

    def _check_texts(self, path: Path, keys: ScenarioKeys) -> None:
        """That every text is a template that can be rendered, and every step shows something that exists."""
        values = self.document.value["scenarios"][path[1]]
        for where, text in _texts(values, path):
            if isinstance(where[-1], str) and where[-1] in {"title", "service", "impact", "what", "do"}:
                self._wrong_if(where, template_mistakes(text, self._measured()))
        for index, step in enumerate(keys.steps):
            if step.show is not None:
                self._wrong_if((*path, "steps", index, "show"), show_mistakes(step.show, self._measured()))

    def _check_messages(self, keys: MessagesKeys) -> None:
        """That every message is a template that can be rendered, and speaks of what there is."""
        for kind, text in keys.model_dump().items():
            self._wrong_if(("messages", kind), wording_mistakes(kind, text))

    def _measured(self) -> dict[str, frozenset[str] | None]:
        """What each probe measures, as far as that is known."""
        return {
            name: frozenset(self.probes[name].type.measures) if name in self.probes else None for name in self.names
        }

    def _wrong_if(self, path: Path, mistakes: Iterable[str]) -> None:
        for mistake in mistakes:
            self._wrong(path, mistake)

    # warnings

    def _warn_of_clocks(self, severities: Mapping[Severity, SeverityRow], rows: Mapping[str, EscalationKeys]) -> None:
        for name, row in rows.items():
            early = [each for each in row.severity if row.unresolved < severities[each].respond]
            for severity in early:
                times = (
                    f"{format_duration(row.unresolved)}, response time {format_duration(severities[severity].respond)}"
                )
                self._warn(
                    ("escalation", name),
                    f"hears of a {severity} before its response time has passed ({times}); taken literally, as two "
                    "clocks of their own",
                )

    def _warn_of_placeholders(self, contacts: Mapping[str, ContactKeys]) -> None:
        for role, contact in contacts.items():
            left = [text for text in (contact.method, contact.backup) if re.fullmatch(r"\[.*\]", text)]
            if left:
                self._warn(("contacts", role), f"still a placeholder: {' and '.join(left)}; write how they are reached")

    def _wrong(self, path: Path, message: str, *, at_key: bool = False) -> None:
        self.problems.append(self.document.problem(path, message, at_key=at_key))

    def _warn(self, path: Path, message: str) -> None:
        self.warnings.append(self.document.problem(path, message, at_key=True))


def _references(scenarios: Mapping[str, Scenario]) -> dict[str, list[str]]:
    return {
        name: [term.name for rule in each.rules for term in rule.terms if term.kind == "scenario"]
        for name, each in scenarios.items()
    }


def _fails_for(probe: ProbeConfig) -> set[str]:
    """Every why for which this probe can be at fail."""
    reasons = {name for name, reason in probe.type.reasons.items() if reason.fault is Fault.TARGET}
    return {RUN, TIMEOUT, *reasons, *(each.why for each in probe.fail), *probe.type.checks(probe.options)}


def _unnamed(probe: ProbeConfig, terms: Iterable[Term]) -> list[str]:
    """What of this probe's failing no rule names: all of it, some whys of it, or nothing."""
    own = [term for term in terms if term.kind == "probe" and term.name == probe.name and term.at is not Level.UNKNOWN]
    if any(term.why is None for term in own):
        return []
    if not own:
        return [probe.name]
    named = {term.why for term in own}
    reasons = {TIMEOUT, *(name for name, each in probe.type.reasons.items() if each.fault is Fault.TARGET)}
    whys = _fails_for(probe) - {RUN} - (reasons if RUN in named else set())
    return [f"{probe.name}/{why}" for why in sorted(whys - named)]


def _plain_term(text: str) -> Term:
    name, _, why = text.partition("/")
    return Term(text, "probe", name, why or None)


def _texts(values: object, path: Path) -> list[tuple[Path, str]]:
    if isinstance(values, str):
        return [(path, values)]
    if isinstance(values, dict):
        return [found for key, value in values.items() for found in _texts(value, (*path, key))]
    if isinstance(values, list):
        return [found for index, value in enumerate(values) for found in _texts(value, (*path, index))]
    return []
