"""Announces the attributes of ``api_definition`` to Neutron's API."""

from __future__ import annotations

from neutron_lib.api import extensions

from isthmus.plugins.neutron import api_definition


class Remote_port(extensions.APIExtensionDescriptor):  # type: ignore[misc]
    """Neutron looks for a class that is named like the module."""

    api_definition = api_definition
