"""What engines ask each other: signed requests only.

Every one of these may be done twice without harm: a signature cannot keep a request from being
sent again to a process that has just been started.

Annotations are no strings in this module: FastAPI could not find a type that a function made.
"""

from typing import Annotated, Any

import fastapi

from isthmus.engine import gathering, poking
from isthmus.engine.core import Engine

Document = dict[str, Any]


def router(engine: Engine) -> fastapi.APIRouter:
    """The routes; all need the signature of another engine."""
    routes = fastapi.APIRouter(prefix="/v1", tags=["between engines"])
    told = gathering.Presence(engine)
    Sender = Annotated[str, fastapi.Depends(engine.require_engine)]

    def presence(sender: Sender) -> Document:
        """That this engine lives, and what it says of its networks."""
        return told.document()

    def poke(content: poking.Content, sender: Sender) -> Document:
        """Something changed in the sender's site."""
        engine.poked(sender, content)
        return {}

    def part(network_id: str, sender: Sender) -> Document:
        """What this engine knows of a network in its own site; empty if it does not keep it."""
        return gathering.own_part(engine, network_id) or {}

    def converge(network_id: str, question: gathering.Question, sender: Sender) -> Document:
        """Compare everything now, and answer when that is done."""
        return gathering.converged(engine, network_id, question)

    routes.add_api_route("/presence", presence)
    routes.add_api_route("/poke", poke, methods=["POST"])
    routes.add_api_route("/networks/{network_id}/part", part)
    routes.add_api_route("/networks/{network_id}/converge", converge, methods=["POST"])
    return routes
