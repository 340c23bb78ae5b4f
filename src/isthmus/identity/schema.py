"""The replicated schema `isthmus_identity`, which lies beside Keystone's own and travels on the
same stream.

Every statement may be run again. They are run once, on one writer site, by whoever builds the cloud
(Galera replicates DDL); the agent only uses the tables. Times are UTC. Not a place for anything
that one site alone owns.
"""

NAME = "isthmus_identity"

# Written by the agent of the writer site, twice a second: what a replica needs to know how old its
# data are.
HEARTBEAT = f"""
CREATE TABLE IF NOT EXISTS {NAME}.heartbeat (
  writer VARCHAR(64) NOT NULL PRIMARY KEY,
  sequence BIGINT NOT NULL,
  written_at DATETIME(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

# One row: which site is the writer. Galera certifies concurrent changes of a row, so that a
# compare-and-set on `epoch` has one winner per primary component. `isthmus.identity.writer` says
# how it is used.
WRITER = f"""
CREATE TABLE IF NOT EXISTS {NAME}.writer (
  id TINYINT NOT NULL PRIMARY KEY,
  site VARCHAR(64) NULL,
  epoch BIGINT NOT NULL,
  renewals BIGINT NOT NULL,
  since DATETIME(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

WRITER_ROW = "INSERT IGNORE INTO isthmus_identity.writer VALUES (1, NULL, 0, 0, UTC_TIMESTAMP(6))"

# Set in the transaction of each replayed write, so that a replay that is killed is neither lost nor
# done twice.
REPLAY_POSITION = f"""
CREATE TABLE IF NOT EXISTS {NAME}.replay_position (
  site VARCHAR(64) NOT NULL,
  queue CHAR(32) NOT NULL,
  sequence BIGINT NOT NULL,
  replayed_at DATETIME(6) NOT NULL,
  PRIMARY KEY (site, queue)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4
"""

# One document for each kind of key, without the keys: `isthmus.identity.keys.generations`. Galera
# certifies concurrent changes of a row, so that a compare-and-set on `revision` has one winner.
KEY_STATE = f"""
CREATE TABLE IF NOT EXISTS {NAME}.key_state (
  kind VARCHAR(16) NOT NULL PRIMARY KEY,
  revision BIGINT NOT NULL,
  document LONGTEXT NOT NULL,
  updated_at DATETIME(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

# The keys, each sealed to one node (`isthmus.identity.keys.sealing`): never in clear.
KEY_BOX = f"""
CREATE TABLE IF NOT EXISTS {NAME}.key_box (
  kind VARCHAR(16) NOT NULL,
  generation BIGINT NOT NULL,
  node VARCHAR(64) NOT NULL,
  sealer VARCHAR(64) NOT NULL,
  box VARCHAR(512) NOT NULL,
  PRIMARY KEY (kind, generation, node)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

# What each node said of its repository. A digest tells nothing about keys of 256 random bits.
KEY_ACK = f"""
CREATE TABLE IF NOT EXISTS {NAME}.key_ack (
  kind VARCHAR(16) NOT NULL,
  node VARCHAR(64) NOT NULL,
  revision BIGINT NOT NULL,
  digest CHAR(64) NOT NULL,
  at DATETIME(6) NOT NULL,
  trouble VARCHAR(512) NULL,
  PRIMARY KEY (kind, node)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

KEY_EVENT = f"""
CREATE TABLE IF NOT EXISTS {NAME}.key_event (
  id CHAR(36) NOT NULL PRIMARY KEY,
  kind VARCHAR(16) NOT NULL,
  at DATETIME(6) NOT NULL,
  revision BIGINT NOT NULL,
  operator VARCHAR(255) NOT NULL,
  event VARCHAR(1024) NOT NULL,
  KEY event_of (kind, revision)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

STATEMENTS: tuple[str, ...] = (
    f"CREATE DATABASE IF NOT EXISTS {NAME} DEFAULT CHARACTER SET utf8mb4",
    HEARTBEAT.strip(),
    WRITER.strip(),
    WRITER_ROW,
    REPLAY_POSITION.strip(),
    KEY_STATE.strip(),
    KEY_BOX.strip(),
    KEY_ACK.strip(),
    KEY_EVENT.strip(),
)


def agent_grants(user: str, host: str = "%") -> tuple[str, ...]:
    """The rights of the agent's database user, to be run on every identity database (replicas do
    not get `mysql.*`).

    SLAVE MONITOR: SHOW SLAVE STATUS. REPLICATION SLAVE ADMIN: STOP SLAVE, CHANGE MASTER, START
    SLAVE. The members of the Galera view are read from a table of the system schema. Nothing of
    Keystone's is readable.
    """
    account = f"`{user}`@`{host}`"
    return (
        f"GRANT SLAVE MONITOR, REPLICATION SLAVE ADMIN ON *.* TO {account}",
        f"GRANT SELECT ON mysql.wsrep_cluster_members TO {account}",
        f"GRANT SELECT, INSERT, UPDATE ON {NAME}.heartbeat TO {account}",
        f"GRANT SELECT, UPDATE ON {NAME}.writer TO {account}",
        f"GRANT SELECT, INSERT, UPDATE ON {NAME}.key_state TO {account}",
        f"GRANT SELECT, INSERT, DELETE ON {NAME}.key_box TO {account}",
        f"GRANT SELECT, INSERT, UPDATE ON {NAME}.key_ack TO {account}",
        f"GRANT SELECT, INSERT ON {NAME}.key_event TO {account}",
    )


def credential_grants(user: str, host: str = "%") -> tuple[str, ...]:
    """What the agent's user needs besides on every identity database where credential keys are rotated:
    encrypting anew what Keystone has stored. The agent has the keys in any case."""
    columns = "encrypted_blob, key_hash"
    return (
        f"GRANT SELECT (id, {columns}), UPDATE ({columns}) ON keystone.credential TO `{user}`@`{host}`",
    )


def key_grants(user: str, host: str = "%") -> tuple[str, ...]:
    """What an engine's database user needs to say an operator's word about keys, on every identity
    database: the boxes are not readable."""
    account = f"`{user}`@`{host}`"
    return (
        f"GRANT SELECT, UPDATE ON {NAME}.key_state TO {account}",
        f"GRANT SELECT ON {NAME}.key_ack TO {account}",
        f"GRANT SELECT, INSERT ON {NAME}.key_event TO {account}",
    )


def replication_grants(user: str, host: str = "%") -> tuple[str, ...]:
    """The rights of the replication user on the writer sites: read the stream, and nothing else.

    The agents look at the masters with this user too (state and position need no further right).
    """
    return (f"GRANT REPLICATION SLAVE ON *.* TO `{user}`@`{host}`",)
