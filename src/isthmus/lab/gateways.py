"""The namespaces of gateways of service addresses, which host agents make as they need them; `down` takes them away.

They are found by what the agents have written down, since an agent that was killed cannot be asked.
"""

from isthmus.agent.host import gateways
from isthmus.lab.environment import Environment
from isthmus.lab.home import Home
from isthmus.network.addresses import fence


def namespaces(place: Home, environment: Environment) -> set[str]:
    """Names of the namespaces that the environment's host agents have or had."""
    found = set()
    for site in environment.sites:
        for host in site.hosts:
            book = place.unit_directory(f"{site.name}/{host}-agent") / "state" / "addresses"
            if book.is_dir():
                ids = [spec.id for spec in gateways.Book(book).all()]
                found |= {gateways.namespace(fence.digits(each, site.name, host)) for each in ids}
    return found
