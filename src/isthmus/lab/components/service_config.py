"""What the services of a site say alike in their configuration: who they are, to whom they speak. Pure: values in, text out."""

from dataclasses import dataclass

from isthmus.identity import config
from isthmus.lab.environment import SiteSpec

PLACEMENT_PORT = 8778
COMPUTE_PORT = 8774
VOLUME_PORT = 8776

# Of the site's namespace: its front and its management address.
ALL_ADDRESSES = "0.0.0.0"  # noqa: S104 - no address of the machine is among them

Section = config.Section


@dataclass(frozen=True, kw_only=True)
class Service:
    """What a process of Cinder and one of Nova are told alike."""

    site: SiteSpec
    transport: str
    password: str
    memcached: str
    directory: str
    path: str
    paste: str
    log_file: str
    privsep_helper: str
    secret_uuid: str

    def sections(self, user: str, privileged: tuple[str, ...]) -> dict[str, Section]:
        """What such a process says alike; `privileged` are the sections of its helpers."""
        return {
            "oslo_concurrency": {"lock_path": f"{self.directory}/lock"},
            "oslo_messaging_notifications": {"driver": "noop"},
            "oslo_middleware": {"enable_proxy_headers_parsing": "true"},
            "keystone_authtoken": checks_tokens(self.site, user, self.password, self.memcached),
            "service_user": vouches(self.site, user, self.password),
            **helpers(self.privsep_helper, self.path, privileged),
        }


def account(site: SiteSpec, user: str, password: str) -> Section:
    """A service's own account, to be used at the Keystone of its site and with the endpoints of its region."""
    return config.account(front=site.front, region=site.name, user=user, password=password)


def checks_tokens(site: SiteSpec, user: str, password: str, memcached: str) -> Section:
    """`[keystone_authtoken]` of a service."""
    return config.authtoken(
        front=site.front,
        region=site.name,
        public=site.management,
        user=user,
        password=password,
        memcached=memcached,
    )


def vouches(site: SiteSpec, user: str, password: str) -> Section:
    """`[service_user]`: a user's token may expire while a service works on; with the service's own it is still taken."""
    return {**account(site, user, password), "send_service_user_token": "true"}


def database(name: str, password: str, address: str, *, schema: str | None = None) -> str:
    """The URL of a database. The port is named, because Nova takes the parts of this URL for its cells."""
    return f"mysql+pymysql://{name}:{password}@{address}:3306/{schema or name}?charset=utf8mb4"


def helpers(command: str, path: str, sections: tuple[str, ...]) -> dict[str, Section]:
    """The privileged helpers of a service: without a command of ours each calls sudo, and fails with a misleading error."""
    return {name: {"helper_command": f"{command} --config-file {path}"} for name in sections}


def gunicorn(
    application: str,
    *,
    port: int,
    threads: int,
    address: str = ALL_ADDRESSES,
    workers: int = 1,
    preload: bool = False,
    timeout: int = 180,
    argv: tuple[str, ...] = (),
) -> str:
    """gunicorn.conf.py of an API.

    The file is found in the working directory and names the application, because a service would take gunicorn's command line
    for its own. `argv` is the one that the service shall find in its place. With `preload` the application is loaded once,
    before the fork; not for services that connect and start threads while they load, because a fork would share the
    connections and lose the threads. `timeout` is how many seconds a worker may be silent.
    """
    return "\n".join(
        [
            "import sys",
            f"sys.argv[1:] = {list(argv)!r}",
            f"wsgi_app = '{application}'",
            f"bind = ['{address}:{port}']",
            f"workers = {workers}",
            f"threads = {threads}",
            "worker_class = 'gthread'",
            f"preload_app = {preload}",
            f"timeout = {timeout}",
            "graceful_timeout = 5",
            # HAProxy opens a connection per request; an idle one kept open here would only race with its end.
            "keepalive = 0",
            "control_socket_disable = True",
            "",
        ]
    )
