"""Screens, letter by letter."""

from __future__ import annotations

from typing import Any

from loopback_cloud import healthy_documents
from test_cli_verdicts import OTHER_KEYS, dead, judged, lyon_alone

from isthmus.cli import screens


def troubled(documents: dict[str, Any]) -> None:
    lyon_alone(documents)
    documents["madrid"]["databases"][0].update(
        serving=False, verdict="lagging", lag_seconds=9.4, reason="the applier waits for a lock"
    )
    documents["madrid"]["keys"]["token"] = OTHER_KEYS
    documents["lyon"]["databases"][0]["writer"] = True
    documents["lyon"]["queue"] = {"pending": 3, "oldest_age_seconds": 70.0}
    documents["lyon"]["keys"]["credential"] = documents["madrid"]["keys"]["credential"]


def test_healthy_sites_on_one_screen():
    assert screens.overview(judged()) == HEALTHY


def test_trouble_on_one_screen():
    report = judged(troubled, paris=dead("paris", healthy_documents()["paris"]))
    assert screens.overview(report) == TROUBLED


def test_the_databases_in_trouble():
    report = judged(troubled, paris=dead("paris"))
    assert screens.replication(report).startswith(DATABASES)


def test_colours_change_nothing_but_colour():
    report = judged(troubled, paris=dead("paris"))
    coloured = screens.overview(report, colour=True)
    assert "\033[31mERROR\033[0m" in coloured
    for sequence in [*screens.Colour, screens.PLAIN]:
        coloured = coloured.replace(str(sequence), "")
    assert coloured == screens.overview(report)


HEALTHY = """\
isthmus: OK   3 sites                                      2026-11-22 18:40:07Z

SITE    REGION  API       IDENTITY                  KEYS      QUEUE  AGE
paris   paris   up 12 ms  writer 1/1, Primary 3/3   a1b2c3d4  0      0.1 s
lyon    lyon    up 12 ms  standby 1/1, Primary 3/3  a1b2c3d4  0      0.1 s
madrid  madrid  up 12 ms  replica 2/2, lag 0.2 s    a1b2c3d4  0      0.1 s
"""

TROUBLED = """\
isthmus: ERROR   3 sites, 2 errors, 3 warnings             2026-11-22 18:40:07Z

SITE    REGION  API       IDENTITY                   KEYS        QUEUE  AGE
paris   paris   down !    (writer 1/1, Primary 3/3)  (a1b2c3d4)  (0)    3 min old
lyon    lyon    up 12 ms  writer 1/1, Primary 2/3    a1b2c3d4 !  3 !    0.1 s
madrid  madrid  up 12 ms  replica 1/2, lag 0.2 s !   ffffffff !  0      0.1 s

ERROR site-down  paris  nothing answers at paris
      cause  connection refused; its agent last answered 3 min ago
      try    check the link to paris and its identity front, then: isthmus site show paris

ERROR keys-differ  the sites hold different token keys: what one site issues, another may refuse
      cause  lyon a1b2c3d4; madrid ffffffff
      try    copy the keys of the site that rotated last to the others, then: isthmus identity status

WARN quorum-thin  the cluster has 2 of 3 votes
     cause  missing: paris
     try    bring back paris: the next loss may stop writes

WARN replica-lags  madrid  replica-paris lags 9.4 s behind paris (limit 5 s)
     cause  the applier waits for a lock
     try    check the link from paris to madrid; isthmus identity status

WARN queue-waiting  lyon  3 writes wait for the writer since 70 s
     cause  the writer could not be reached from this site when they were made
     try    they are replayed once lyon reaches the writer; isthmus identity status
"""

DATABASES = """\
identity: ERROR   3 databases, 2 errors, 3 warnings        2026-11-22 18:40:07Z

SITE    DATABASE       VERDICT                                        LAG    FOLLOWS  POSITION     QUORUM       AGE
paris   -              not known (API and agent: connection refused)  -      -        -            -            -
lyon    identity-db    serving, writer                                -      -        100-100-512  Primary 2/3  0.1 s
madrid  replica-paris  lagging !                                      9.4 s  paris    100-100-512  -            0.1 s
madrid  replica-lyon   serving                                        0.2 s  lyon     100-100-512  -            0.1 s

SITE    TOKEN KEYS  CREDENTIAL KEYS  QUEUE  OLDEST  AGE
paris   -           -                -      -       -
lyon    a1b2c3d4 !  a1b2c3d4         3 !    70 s    0.1 s
madrid  ffffffff !  a1b2c3d4         0      -       0.1 s
"""
