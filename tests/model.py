"""What the runbook asks for, told a second time and as simply as can be: who is to be paged, and when.

No wall clock, no store, no process: true time only (seconds that never go back), a list of what each incident went
through, and the rules of the severity table and the matrix as a few lines each. It shares nothing with `monitor.core`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

MINUTE, HOUR = 60.0, 3600.0
RESPOND = {1: 15 * MINUTE, 2: HOUR, 3: 4 * HOUR, 4: 24 * HOUR}
RULES = {  # scenario: (severity, probe, hold)
    "portal": [(1, "portal", 0.0)],
    "redis": [(4, "evictions", 0.0), (3, "memory", 5 * MINUTE), (2, "redis", 0.0), (1, "both", 0.0)],
    "whmcs": [(2, "whmcs", 0.0), (2, "whmcs-server", 0.0)],
    "salesforce": [(3, "salesforce", 0.0)],
    "security": [(4, "logins", 0.0)],
}
PROBES = [probe for rules in RULES.values() for _, probe, _ in rules]
CAUSE_OF = {"redis": "portal", "whmcs": "portal"}
VENDORS = {"whmcs": ("whmcs-server", 0.0), "salesforce": (None, 30 * MINUTE)}  # scenario: (what it answers for, after)
MONITOR, REOPEN, SIGHT = 15 * MINUTE, 30 * MINUTE, 60.0

Call = tuple[int, int, str, str, int]
"""(opening, severity, level, vendor, attempt)"""


@dataclass
class Case:
    """One incident."""

    began: float  # the first failing run, or the report
    opened: float
    stays: list[tuple[float, int]]  # of this opening: (when, severity)
    by_hand: bool = False
    state: str = "investigating"
    opening: int = 1
    ack: tuple[float, int] | None = None
    identified: bool = False
    waived: int | None = None
    overridden: int | None = None
    impact: float | None = None
    declared: float | None = None
    vendor: float | None = None
    clear_since: float | None = None
    over: float | None = None
    relapses: list[float] = field(default_factory=list)
    silent: bool = False
    calls: list[Call] = field(default_factory=list)
    called_at: list[float] = field(default_factory=list)  # of each call
    news: bool = False  # whoever was called before wants to know
    updates: int = 0

    @property
    def severity(self) -> int:
        return self.stays[-1][1]

    @property
    def acked(self) -> bool:
        return self.ack is not None and self.ack[1] <= self.severity

    def stay(self, *severities: int) -> float | None:
        """Since when it has been at one of these without a break."""
        since = None
        for at, severity in self.stays:
            since = None if severity not in severities else since if since is not None else at
        return since

    def response_due(self) -> float | None:
        if self.acked or self.state == "resolved":
            return None
        owed = [stay for stay in self.stays if self.ack is None or (stay[0] > self.ack[0] and stay[1] < self.ack[1])]
        asked = [(self.asked(*stay), stay[1]) for stay in owed]
        return min((at + RESPOND[severity] for at, severity in asked if at is not None), default=None)

    def asked(self, at: float, severity: int) -> float | None:
        """Since when somebody could answer to this: nobody can before they are called of something as bad."""
        told = [
            when
            for call, when in zip(self.calls, self.called_at, strict=True)
            if call[0] == self.opening and call[1] <= severity
        ]
        return max(at, min(told)) if told else None

    def declared_call(self) -> float | None:
        """It has an audience of its own, who were not told if the others had been before."""
        late = self.declared is not None and any(
            call[0] == self.opening
            and call[2:] == ("L1", "none", 1)
            and call[1] <= self.severity
            and at < self.declared
            for call, at in zip(self.calls, self.called_at, strict=True)
        )
        return self.declared if late else None

    def second_call(self) -> float | None:
        due = self.response_due()
        if due is None or self.severity > 2:
            return None
        milder = [call for call in self.calls if call[0] == self.opening and call[4] == 2 and call[1] > self.severity]
        if not milder:
            return due
        asked = self.asked(*self.stays[-1])
        return None if asked is None else asked + RESPOND[self.severity]


@dataclass
class Model:
    """All incidents of all scenarios, and what the daemon can know of the probes."""

    began: float = 0.0  # when the present process started
    last_run: dict[str, str] = field(default_factory=dict)  # "ok", "fail" or "blind"
    seen: set[str] = field(default_factory=set)  # probes that have run in the present process
    failing_since: dict[str, float] = field(default_factory=dict)
    held_since: dict[tuple[str, str], float] = field(default_factory=dict)
    windows: list[tuple[str, float, float]] = field(default_factory=list)  # of a probe or scenario:x, from, to
    cases: dict[str, list[Case]] = field(default_factory=lambda: {name: [] for name in RULES})
    derived: dict[str, int | None] = field(default_factory=lambda: dict.fromkeys(RULES))
    unknown: dict[str, bool] = field(default_factory=lambda: dict.fromkeys(RULES, False))
    ripe: dict[str, list[float]] = field(default_factory=lambda: {name: [] for name in RULES})

    # --- what happens -------------------------------------------------------------------------------------------------

    def restart(self, now: float) -> None:
        self.began, self.seen = now, set()
        self.look(now)

    def ran(self, probe: str, how: str, now: float) -> None:
        self.seen.add(probe)
        self.last_run[probe] = how
        if how == "ok":
            self.failing_since.pop(probe, None)
        elif how == "fail":
            self.failing_since.setdefault(probe, now)
        self.look(now)

    def newest(self, scenario: str) -> Case | None:
        return self.cases[scenario][-1] if self.cases[scenario] else None

    def open(self, scenario: str) -> Case | None:
        case = self.newest(scenario)
        return case if case is not None and case.state != "resolved" else None

    # --- what follows -------------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Time is this late by now; whatever follows from that."""
        calls = {scenario: len(case.calls) if (case := self.newest(scenario)) else 0 for scenario in RULES}
        for scenario in RULES:
            self._derive(scenario, now)
        for scenario in RULES:
            self._live(scenario, now)
        for scenario in RULES:
            self._hush(scenario)
            self._follow_vendor(scenario, now)
        for scenario in RULES:
            self._call(scenario, now)
            self._update(scenario, calls[scenario])

    def _maintained(self, scenario: str, probe: str, now: float) -> bool:
        return any(of in {probe, f"scenario:{scenario}"} and start <= now < end for of, start, end in self.windows)

    def _knows(self, scenario: str, probe: str, now: float) -> bool | None:
        """Whether it fails, as far as may be said."""
        how = self.last_run.get(probe) if probe in self.seen else None
        if how == "fail":
            return None if self._maintained(scenario, probe, now) else True
        return False if how == "ok" else None

    def _derive(self, scenario: str, now: float) -> None:
        ripe, waiting, unknown = [], [], False
        for severity, probe, hold in RULES[scenario]:
            how = self.last_run.get(probe) if probe in self.seen else None
            if how == "fail":
                self.held_since.setdefault((scenario, probe), now)
            elif how == "ok":
                self.held_since.pop((scenario, probe), None)
            known = self._knows(scenario, probe, now)
            unknown |= known is None
            if known:
                at = self.held_since[scenario, probe] + hold
                ripe += [severity] if at <= now else []
                waiting += [] if at <= now else [at]
        self.derived[scenario] = min(ripe, default=None)
        self.unknown[scenario] = not ripe and unknown
        self.ripe[scenario] = waiting

    def _live(self, scenario: str, now: float) -> None:
        case, derived, unknown = self.newest(scenario), self.derived[scenario], self.unknown[scenario]
        if case is None or case.state == "resolved":
            self._maybe_open(scenario, case, now)
        elif derived is not None:
            if case.state == "monitoring":
                case.state = "identified" if case.identified else "investigating"
                case.relapses.append(now)
                case.clear_since, case.news = None, True
            if derived < case.severity and (case.waived is None or derived < case.waived):
                case.stays.append((now, derived))
                case.waived, case.news = None, True
        elif unknown or case.by_hand:
            pass
        elif case.state != "monitoring":
            case.state, case.clear_since, case.news = "monitoring", now, True
        else:
            assert case.clear_since is not None
            last = case.relapses[-3:]
            patience = MONITOR * 4 if len(last) == 3 and last[2] - last[0] < HOUR else MONITOR
            if now - case.clear_since >= patience and not any(at < now + patience for at in self.ripe[scenario]):
                case.state, case.over = "resolved", now

    def gone_against(self, scenario: str) -> int | None:
        """The severity that somebody knows better than: of the rules, or the last of theirs where they cannot tell."""
        case = self.open(scenario)
        if not self.unknown[scenario] or case is None:
            return self.derived[scenario]
        if case.by_hand or case.state == "monitoring":
            return None
        return case.severity if case.waived is None else case.waived

    def _maybe_open(self, scenario: str, case: Case | None, now: float) -> None:
        derived = self.derived[scenario]
        if case is not None and case.overridden is not None:
            if derived is None and not self.unknown[scenario]:
                case.overridden = None
            if derived is None or derived >= (case.overridden or 0):
                return
        if derived is None:
            return
        if case is not None and case.over is not None and now - case.over < REOPEN:
            again = Case(case.began, now, [(now, derived)], opening=case.opening + 1)
            again.relapses, again.calls, again.updates = case.relapses, case.calls, case.updates
            again.called_at = case.called_at
            self.cases[scenario][-1] = again
            return
        guilty = [
            probe
            for severity, probe, hold in RULES[scenario]
            if severity == derived and self._held(scenario, probe, hold, now)
        ]
        began = min(self.failing_since[probe] for probe in guilty)
        self.cases[scenario].append(Case(began, now, [(now, derived)]))

    def _held(self, scenario: str, probe: str, hold: float, now: float) -> bool:
        return self._knows(scenario, probe, now) is True and self.held_since[scenario, probe] + hold <= now

    def _hush(self, scenario: str) -> None:
        case = self.open(scenario)
        if case is None:
            return
        cause = self.open(CAUSE_OF[scenario]) if scenario in CAUSE_OF else None
        case.silent = (
            cause is not None
            and case.declared is None
            and (cause.severity <= 2 or cause.severity <= case.severity)
            and not (cause.clear_since is not None and case.began > cause.clear_since)
        )

    def _vendor_fails(self, scenario: str, case: Case, now: float) -> bool | None:
        probe = VENDORS[scenario][0]
        if probe is not None:
            return self._knows(scenario, probe, now)
        if self.derived[scenario] is not None or case.by_hand:
            return True
        return None if self.unknown[scenario] else False

    def _follow_vendor(self, scenario: str, now: float) -> None:
        case = self.open(scenario)
        if case is None or scenario not in VENDORS:
            return
        fails = self._vendor_fails(scenario, case, now)
        if fails:
            case.vendor = now if case.vendor is None else case.vendor
        elif fails is False and case.state != "monitoring":
            case.vendor = None

    def _call(self, scenario: str, now: float) -> None:
        case = self.open(scenario)
        if case is None or case.silent or case.state == "monitoring":
            return
        unseen = any(probe not in self.seen for _, probe, _ in RULES[scenario])
        if case.opened < self.began and unseen and now - self.began < SIGHT:
            return
        for due, level, vendor, attempt in self._dues(scenario, case, now):
            told = [
                call for call in case.calls
                if call[0] == case.opening and call[2:] == (level, vendor, attempt) and call[1] <= case.severity
            ]  # fmt: skip
            if due <= now and not told:
                case.calls.append((case.opening, case.severity, level, vendor, attempt))
                case.called_at.append(now)

    def _update(self, scenario: str, calls_before: int) -> None:
        """A status update for those who were called before, unless somebody is called at this very moment."""
        case = self.newest(scenario)
        if case is None or not case.news:
            return
        known = any(call[0] == case.opening for call in case.calls)
        if known and len(case.calls) == calls_before and not case.silent:
            case.updates += 1
        case.news = False

    def _dues(self, scenario: str, case: Case, now: float) -> list[tuple[float, str, str, int]]:
        dues = [(case.opened, "L1", "none", 1)]
        if (urgent := case.stay(1, 2)) is not None:
            dues.append((urgent + 30 * MINUTE, "L2", "none", 1))
        if (critical := case.stay(1)) is not None:
            dues.append((critical + HOUR, "L3", "none", 1))
        if case.impact is not None:
            dues.append((case.impact, "L3", "none", 1))
        if case.declared is not None:
            dues += [(case.declared, "L2", "none", 1), (case.declared, "L3", "none", 1)]
        if case.vendor is not None and self._vendor_fails(scenario, case, now) is not None:
            dues.append((case.vendor + VENDORS[scenario][1], "L4", scenario, 1))
        if (second := case.second_call()) is not None:
            dues.append((second, "L1", "none", 2))
        if (late := case.declared_call()) is not None:
            dues.append((late, "L1", "none", 3))
        return dues
