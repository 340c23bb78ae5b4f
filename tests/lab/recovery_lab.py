"""The lab with recovery as the tests see it: its people, and what its guests say."""

from dataclasses import dataclass
from ipaddress import IPv4Network

from running_lab import Lab

from isthmus.lab import vnf
from isthmus.lab.recovering import Recovering


@dataclass(kw_only=True)
class RecoveryLab(Lab):
    """The running lab with the environment `recovery`."""

    @property
    def people(self) -> Recovering:
        """The one who asks and the one who approves."""
        return Recovering(home=self.home, environment=self.environment, units=self.units)

    def declared(self, name: str, *, policy: str, cidr: IPv4Network) -> dict[str, str]:
        """Servers by name of a VNF that was made in Paris, is declared, and whose protocol runs."""
        people = self.people
        # Not by its command, which would wait for the lock that this session holds.
        made = vnf.create(self.home, name, site="paris", cidr=cidr, say=print)
        group = people.declare(made, backup_site="lyon", policy=policy)
        members = {each["name"]: each["server_id"] for each in group["members"]}
        # A server is active long before its guest has booted, and volumes without a number would prove nothing.
        people.goes_on(self.paris, members)
        return members
