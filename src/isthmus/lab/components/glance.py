"""Glance of one site: the service that consumes tokens. It asks its own site's Keystone and keeps its data in the site."""

import shutil
import sysconfig
from pathlib import Path

from isthmus.identity import config
from isthmus.lab import errors, inside
from isthmus.lab.components import local_db, memcached, service_config
from isthmus.lab.components.base import Component, Context, script

HOST = 3
NAME = "glance"


class Glance(Component):
    def needs(self, context: Context) -> list[str]:
        return [f"{context.site.name}/{local_db.NAME}"]

    def start(self, context: Context) -> None:
        for folder in ("images", "staging", "tasks"):
            (context.directory / folder).mkdir(parents=True, exist_ok=True)
        context.write("glance-api.conf", _configuration(context))
        shutil.copy(_paste(), context.directory / "glance-api-paste.ini")
        server = service_config.gunicorn(
            "glance.wsgi.api:application",
            address=context.site.address(HOST),
            port=config.IMAGE_PORT,
            threads=4,
            preload=True,
            timeout=120,
        )
        context.write("gunicorn.conf.py", server)
        daemon = context.spawn(
            [script("gunicorn")],
            env={"OS_GLANCE_CONFIG_DIR": str(context.directory)},
        )
        context.wait(daemon, lambda: _missing(context))

    def test(self, context: Context) -> str:
        if missing := _missing(context):
            raise errors.NotReady(what="Glance does not answer", where=context.unit, cause=missing)
        return "answers its health check"


def _missing(context: Context) -> str | None:
    return inside.missing(
        context.site.namespace, context.site.address(HOST), config.IMAGE_PORT, "/healthcheck"
    )


def _paste() -> Path:
    """The pipeline file that Glance's distribution installs."""
    path = Path(sysconfig.get_path("data")) / "etc" / "glance" / "glance-api-paste.ini"
    if not path.is_file():
        raise errors.BadHost(missing=[f"{path} is missing"], remedy="make setup")
    return path


def _configuration(context: Context) -> str:
    site, folder, secret = context.site, context.directory, context.template.secret
    url = service_config.database(NAME, secret("glance-database"), local_db.address(site))
    return config.ini(
        {
            "DEFAULT": {
                "log_file": str(context.home.log(f"{context.unit}-service")),
                "use_stderr": "false",
                "enabled_backends": "files:file",
                "worker_self_reference_url": f"http://{site.address(HOST)}:{config.IMAGE_PORT}",
            },
            "database": {"connection": url, "max_pool_size": 4},
            "glance_store": {"default_backend": "files"},
            "files": {"filesystem_store_datadir": str(folder / "images")},
            "os_glance_staging_store": {"filesystem_store_datadir": str(folder / "staging")},
            "os_glance_tasks_store": {"filesystem_store_datadir": str(folder / "tasks")},
            "paste_deploy": {
                "flavor": "keystone",
                "config_file": str(folder / "glance-api-paste.ini"),
            },
            "keystone_authtoken": service_config.checks_tokens(
                site, NAME, secret(NAME), memcached.endpoint(context)
            ),
            "oslo_middleware": {"enable_proxy_headers_parsing": "true"},
        }
    )
