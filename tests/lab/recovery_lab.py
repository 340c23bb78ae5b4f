"""The lab with recovery as the tests see it: its people, and what its guests say."""

from dataclasses import dataclass

from running_lab import Lab

from isthmus.lab.recovering import Recovering


@dataclass(kw_only=True)
class RecoveryLab(Lab):
    """The running lab with the environment `recovery`."""

    @property
    def people(self) -> Recovering:
        """The one who asks and the one who approves."""
        return Recovering(home=self.home, environment=self.environment, units=self.units)
