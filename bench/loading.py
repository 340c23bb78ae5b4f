"""The load generator: asks an HTTP server the same or different things, alone or with several clients, and times every answer.

A program of its own, run inside a site's network namespace, so that a Keystone is asked directly, without load balancer or
management network, and the clients' CPU is not the measuring program's. It imports only the standard library, to start fast.
One JSON request on standard input (tokens and passwords do not belong into argv), one JSON answer on standard output:

    {"host": "10.0.0.1", "port": 5000, "asks": [{"method": "GET", "path": "/v3", "headers": {}, "body": null}],
     "clients": 1, "least": 3, "most": 40, "seconds": 2.0, "period": 0.0, "timeout": 10.0}
    {"samples": [[12.1, "200"]], "seconds": 1.5}      milliseconds, and a status or words

The asks are taken in order and from the beginning again. It ends after `most` asks, or after `seconds` if `least` were made.
With a `period`, ask number n is not sent earlier than n periods (seconds) after the beginning.
"""

import http.client
import itertools
import json
import sys
import threading
import time
from typing import Any


def main() -> None:
    """Entry point."""
    json.dump(load(json.load(sys.stdin)), sys.stdout)


def load(request: dict[str, Any]) -> dict[str, Any]:
    """Do what `request` says; see the module's docstring for both shapes."""
    numbers = itertools.count()
    began = time.perf_counter()
    samples: list[tuple[float, str]] = []
    threads = [
        threading.Thread(target=_client, args=(request, numbers, began, samples))
        for _ in range(request["clients"])
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {"samples": samples, "seconds": time.perf_counter() - began}


def _client(
    request: dict[str, Any], numbers: Any, began: float, samples: list[tuple[float, str]]
) -> None:
    asks = request["asks"]
    for number in numbers:
        late = time.perf_counter() - began > request["seconds"]
        if number >= request["most"] or (late and number >= request["least"]):
            return
        time.sleep(max(0.0, began + number * request["period"] - time.perf_counter()))
        sent = time.perf_counter()
        outcome = _ask(request, asks[number % len(asks)])
        samples.append((1000 * (time.perf_counter() - sent), outcome))


def _ask(request: dict[str, Any], ask: dict[str, Any]) -> str:
    """The status as text, or what came instead of an answer."""
    connection = http.client.HTTPConnection(
        request["host"], request["port"], timeout=request["timeout"]
    )
    try:
        body = None if ask["body"] is None else json.dumps(ask["body"])
        connection.request(ask["method"], ask["path"], body=body, headers=ask["headers"])
        answer = connection.getresponse()
        answer.read()
    except TimeoutError:
        return "no answer in time"
    except http.client.RemoteDisconnected:
        return "empty reply"
    except (OSError, http.client.HTTPException) as error:
        return type(error).__name__
    finally:
        connection.close()
    return str(answer.status)


if __name__ == "__main__":
    main()
