#!/usr/bin/env bash
# Installs miniature-memory into .venv/ here, and Chromium through apt-get. Safe to call again at any time:
# what is there stays, what an interrupted call left half done is done.
#
#   ./setup.sh         install
#   ./setup.sh demo    install, then one whole night over a site that this machine serves to itself
#   ./setup.sh test    install what the tests need too; lint, types, tests
#
# PYTHON             the interpreter to use (default: the first of python3.13 ... python3 that is 3.11 or later)
# TORCH_INDEX_URL    where to take torch from (default: PyTorch's CPU index, or plain pip with an NVIDIA GPU)
set -euo pipefail
cd "$(dirname "$0")"

TORCH=2.13.0
CPU_INDEX=https://download.pytorch.org/whl/cpu
VENV=.venv

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf 'setup.sh: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

as_root() { # runs a command as root, saying so where that takes sudo
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  have sudo || return 1
  say "this needs root, so sudo may ask for your password: $*"
  sudo "$@"
}

apt_install() { # installs Debian packages; false where that is not possible
  have apt-get || return 1
  say "apt-get install $*"
  if ! apt_updated; then as_root apt-get update -qq >&2 || return 1; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >&2
}

apt_updated() { [ -n "$(find /var/lib/apt/lists -maxdepth 1 -name '*Packages*' -mtime -1 2>/dev/null | head -n 1)" ]; }

find_python() {
  local candidate
  for candidate in ${PYTHON:-python3.13 python3.12 python3.11 python3}; do
    if have "$candidate" && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    then echo "$candidate"; return; fi
  done
  fail "no Python 3.11 or later found (PYTHON=/path/to/python names one)"
}

make_venv() {
  if [ -x $VENV/bin/python ] && $VENV/bin/python -m pip --version >/dev/null 2>&1; then return; fi
  local python; python=$(find_python)
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    apt_install python3-venv || fail "$python has no venv module: install python3-venv"
  fi
  say "virtual environment in $VENV/ ($("$python" --version))"
  rm -rf $VENV
  "$python" -m venv $VENV
}

# install_lock LOCK: everything the lock names, at those versions with those hashes. A stamp remembers it.
install_lock() {
  local stamp=$VENV/.installed-$1 digest
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then return; fi
  say "packages of $1 (a few minutes the first time)"
  rm -f "$stamp"
  $VENV/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps -r "$1"
  echo "$digest" >"$stamp"
}

# torch stands apart from the lock: its CPU build has another origin, and so other hashes, than the CUDA build.
install_torch() {
  local cuda=no version
  if have nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q GPU; then cuda=yes; fi
  version=$($VENV/bin/python -c "import torch; print(torch.__version__.split('+')[0], torch.version.cuda is None)" 2>/dev/null || true)
  case "$version $cuda" in "$TORCH True no" | "$TORCH False yes") return ;; esac
  local pip="$VENV/bin/python -m pip install --quiet --disable-pip-version-check"
  if [ -n "${TORCH_INDEX_URL:-}" ]; then
    say "torch $TORCH from $TORCH_INDEX_URL"
    $pip --index-url "$TORCH_INDEX_URL" "torch==$TORCH"
  elif [ $cuda = yes ]; then
    say "torch $TORCH with CUDA: an NVIDIA GPU is here"
    $pip "torch==$TORCH"
  else
    say "torch $TORCH for the CPU"
    # An index that cannot be reached is given up after one try; then plain pip, as it is set up here.
    $pip --retries 0 --timeout 20 --index-url $CPU_INDEX "torch==$TORCH" 2>/dev/null || $pip "torch==$TORCH"
  fi
  [ $cuda = yes ] || [ -n "${TORCH_INDEX_URL:-}" ] ||
    $VENV/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' ||
    fail "a CUDA build of torch was installed, but there is no GPU: set TORCH_INDEX_URL to an index of CPU builds"
}

has_chromium() { # a real one, not Ubuntu's stub that asks for a snap
  $VENV/bin/python -c 'import sys; from tasks.browser.chromium import find_binaries as find; sys.exit(None in (find().chromium, find().driver))'
}

install_chromium() {
  if has_chromium || [ -e $VENV/.no-chromium-in-apt ]; then return; fi
  apt_install chromium-headless-shell chromium-driver chromium || apt_install chromium chromium-driver || true
  if has_chromium; then return; fi
  touch $VENV/.no-chromium-in-apt # a second call does not ask again
  say "no real Chromium from apt-get here: Selenium Manager fetches one when the first page needs it"
}

install_compiler() { # training is about twice as fast compiled; without a compiler it still works
  if have c++ && [ -e "$($VENV/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then return; fi
  apt_install g++ python3-dev || say "no C++ compiler: training works, but slower"
}

install() {
  make_venv
  install_lock requirements.lock
  install_torch
  install_chromium
  install_compiler
}

case "${1:-install}" in
  install)
    install
    say "installed. One night: .venv/bin/python run.py      A look first: ./setup.sh demo"
    ;;
  demo)
    install
    say "one night of the demo profile"
    exec $VENV/bin/python run.py --profile demo
    ;;
  test)
    install
    install_lock requirements-dev.lock
    say "lint and types"
    $VENV/bin/ruff check .
    $VENV/bin/ruff format --check .
    $VENV/bin/mypy
    say "tests"
    exec $VENV/bin/python -m pytest
    ;;
  -h | --help | help) sed -n '2,11s/^# \{0,1\}//p' "$0" ;;
  *) fail "unknown word '$1': say nothing, demo or test" ;;
esac
