#!/usr/bin/env bash
# Installs everything that the product needs on a Debian 12 machine: Debian packages (one list), uv, the locked environment with
# compiled bytecode. Run again it finds everything in place and ends at once. Usage: setup/install.sh [--no-system]
set -euo pipefail
cd "$(dirname "$0")/.."

UV_VERSION=0.13.9
VENV=.venv
TOOLS=.venv-tools
# The caller's shell may forbid bytecode; services that import ten thousand modules start three times slower without it.
unset PYTHONDONTWRITEBYTECODE
export UV_PYTHON_DOWNLOADS=never UV_COMPILE_BYTECODE=1 UV_LINK_MODE=${UV_LINK_MODE:-hardlink}

fail() { # what, try, exit code (71: the host lacks something, 77: more rights are needed)
  printf 'error: %s\n  unchanged  what was installed before stays\n  try        %s\n' "$1" "$2" >&2
  exit "${3:-71}"
}

packages() { sed 's/#.*//' setup/debian-packages.txt | xargs -n1; }

missing_packages() {
  local name
  for name in $(packages); do
    [ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || printf '%s\n' "$name"
  done
}

# Debian's packages start their services when they are installed. The lab runs its own, so nothing may start on the host.
forbid_services() {
  [ -e /usr/sbin/policy-rc.d ] && return
  printf '#!/bin/sh\nexit 101\n' > /usr/sbin/policy-rc.d
  chmod 755 /usr/sbin/policy-rc.d
  trap 'rm -f /usr/sbin/policy-rc.d' EXIT
}

install_packages() {
  local missing
  missing=$(missing_packages)
  [ -z "$missing" ] && return
  [ "$(id -u)" = 0 ] || fail "Debian packages are missing and this is not root: $(echo $missing)" "sudo make setup" 77
  command -v apt-get >/dev/null || fail "this is not Debian: apt-get is missing" "install by hand: $(echo $missing)"
  echo "installing Debian packages: $(echo $missing)" >&2
  forbid_services
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq >&2 || fail "the package index cannot be read" "check /etc/apt/sources.list and the network, then make setup"
  local name log
  log=$(mktemp)
  if ! apt-get install -y -qq --no-install-recommends $missing >"$log" 2>&1; then
    for name in $missing; do
      apt-cache show "$name" >/dev/null 2>&1 || fail "Debian has no package $name" "use Debian 12 (bookworm) with the main archive"
    done
    tail -n 15 "$log" >&2
    fail "Debian packages cannot be installed (see above): $(echo $missing)" "dpkg --configure -a; apt-get -f install; make setup"
  fi
  rm -f "$log"
  missing=$(missing_packages)
  [ -z "$missing" ] || fail "these packages are still not installed: $(echo $missing)" "apt-get install --reinstall $(echo $missing)"
}

install_uv() {
  if [ "$("$TOOLS/bin/uv" --version 2>/dev/null | cut -d' ' -f2)" = "$UV_VERSION" ]; then return; fi
  python3.11 -m venv "$TOOLS" || fail "python3.11 cannot make an environment" "apt-get install python3.11-venv"
  "$TOOLS/bin/python" -m pip install -q --disable-pip-version-check "uv==$UV_VERSION" ||
    fail "uv $UV_VERSION cannot be installed from PyPI" "check the network and pip's configuration, then make setup"
}

stamp() { cat uv.lock pyproject.toml setup/install.sh | sha256sum | cut -d' ' -f1; }

install_environment() {
  local want
  want=$(stamp)
  if [ "$(cat "$VENV/.installed" 2>/dev/null)" = "$want" ] && "$VENV/bin/python" -c '' 2>/dev/null; then return; fi
  echo "installing the locked Python environment" >&2
  "$TOOLS/bin/uv" sync -q --frozen --all-extras --python "$(command -v python3.11)" ||
    fail "the locked Python environment cannot be installed" "rm -rf $VENV; make setup"
  "$VENV/bin/python" -m compileall -q src/isthmus || true
  "$VENV/bin/python" -W ignore -c 'import keystone, glance, isthmus.cli.main' ||
    fail "the Python environment is broken" "rm -rf $VENV; make setup"
  echo "$want" > "$VENV/.installed"
}

command -v python3.11 >/dev/null || fail "python3.11 is missing" "apt-get install python3.11"
[ "${1:-}" = --no-system ] || install_packages
install_uv
install_environment
