"""The replicated schema `isthmus_network`: what operators declared about networks and addresses.

It lies beside `isthmus_identity` and travels on the same stream: written once, through the listener
of the writer, and read in every site from its local database. So a site that is cut off still knows
what it should hold. Every statement may be run again; they are run once, on one writer site, by
whoever builds the cloud. Times are UTC. What one site has observed or done is not kept here: that
is found out again after every restart.

Declarations are JSON documents with a revision: the shapes are those of
`isthmus.network.declarations` and `isthmus.network.addresses`, and a newer release may add fields
without changing tables. Only what the database itself must keep unique has columns of its own.
"""

NAME = "isthmus_network"

# The VNI is unique because two creates through two engines would otherwise take the same one.
NETWORK = f"""
CREATE TABLE IF NOT EXISTS {NAME}.network (
  id CHAR(36) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL UNIQUE,
  vni INT UNSIGNED NOT NULL UNIQUE,
  revision BIGINT NOT NULL,
  document LONGTEXT NOT NULL,
  updated_at DATETIME(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

SERVICE_ADDRESS = f"""
CREATE TABLE IF NOT EXISTS {NAME}.service_address (
  id CHAR(36) NOT NULL PRIMARY KEY,
  name VARCHAR(255) NOT NULL UNIQUE,
  revision BIGINT NOT NULL,
  document LONGTEXT NOT NULL,
  updated_at DATETIME(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

# What operators said about a site (lost, returned). A site without a row is as the sites file says;
# nothing is said here about its health.
SITE = f"""
CREATE TABLE IF NOT EXISTS {NAME}.site (
  id VARCHAR(64) NOT NULL PRIMARY KEY,
  revision BIGINT NOT NULL,
  document LONGTEXT NOT NULL,
  updated_at DATETIME(6) NOT NULL
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

# What was done, by whom and when: changes of declarations, sites lost and returned, moves of
# addresses. The identity of an event is made where it happened, so that writing it again after a
# lost answer adds nothing.
EVENT = f"""
CREATE TABLE IF NOT EXISTS {NAME}.event (
  id CHAR(36) NOT NULL PRIMARY KEY,
  at DATETIME(6) NOT NULL,
  site VARCHAR(64) NOT NULL,
  subject VARCHAR(64) NOT NULL,
  subject_id VARCHAR(64) NOT NULL,
  document LONGTEXT NOT NULL,
  KEY event_of (subject, subject_id, at)
) ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin
"""

STATEMENTS: tuple[str, ...] = (
    f"CREATE DATABASE IF NOT EXISTS {NAME} DEFAULT CHARACTER SET utf8mb4",
    NETWORK.strip(),
    SERVICE_ADDRESS.strip(),
    SITE.strip(),
    EVENT.strip(),
)


def engine_grants(user: str, host: str = "%") -> tuple[str, ...]:
    """The rights of the engine's database user, to be run on every identity database.

    It reads and writes declarations and nothing else; Keystone's tables are not readable.
    """
    return (f"GRANT SELECT, INSERT, UPDATE, DELETE ON {NAME}.* TO `{user}`@`{host}`",)
