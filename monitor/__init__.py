"""portal-monitor: keeps watch over the Customer Portal, as the incident runbook says."""

__version__ = "0.1.0"
