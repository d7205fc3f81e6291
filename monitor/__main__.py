"""`python -m monitor` is `portal-monitor`."""

from monitor.cli import main

if __name__ == "__main__":
    main(prog_name="portal-monitor")
