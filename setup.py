"""Puts the shipped configuration into the package, for `portal-monitor init`. All else is in pyproject.toml."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

HERE = Path(__file__).parent
SHIPPED = ("probes.yaml", "alerts")


class BuildWithStarter(build_py):
    """Copies what stands at the top of the repository, where people look for it, to where the package finds it."""

    def run(self) -> None:
        super().run()
        if self.editable_mode:
            return  # then the package stands in the repository
        starter = Path(self.build_lib) / "monitor" / "starter"
        shutil.rmtree(starter, ignore_errors=True)
        starter.mkdir(parents=True)
        for name in SHIPPED:
            if (HERE / name).is_dir():
                shutil.copytree(HERE / name, starter / name)
            else:
                shutil.copy2(HERE / name, starter / name)


setup(cmdclass={"build_py": BuildWithStarter})
