#!/usr/bin/env bash
# Installs miniature-memory into .venv/ here, and Chromium through apt-get. Safe to call again at any time:
# what is there stays, what an interrupted call left half done is done.
#
#   ./setup.sh              install
#   ./setup.sh demo         install and fetch six novels, then one whole night over a site that this machine serves
#   ./setup.sh test         install what the tests need too; lint, types, all tests but the long campaigns
#   ./setup.sh test long    the same installation, then the long campaigns alone
#
# PYTHON             the interpreter to use (default: the first of python3.13 ... python3 that is 3.11 or later)
# TORCH_INDEX_URL    where to take torch from (default: PyTorch's CPU index, or plain pip with an NVIDIA GPU)
#
# What apt-get and pip say goes to .venv/setup.log. Where a step fails, its last lines are shown.
set -euo pipefail
cd "$(dirname "$0")"

TORCH=2.13.0
CPU_INDEX=https://download.pytorch.org/whl/cpu
VENV=.venv
LOG=$VENV/setup.log
NOVELS=$VENV/novels.rdb # deployments/demo.toml names it
PIP="$VENV/bin/python -m pip install --disable-pip-version-check --progress-bar off"
exec 3>&2 # for what people read: a step's own output goes to the log

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&3; }
fail() { printf 'setup.sh: %s\n' "$*" >&3; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

open_log() { # open_log WHAT: a heading in the log, which is there before the virtual environment is
  [ -d $VENV ] || { rm -f $VENV; mkdir $VENV; }
  printf '\n==> %s %s\n' "$(date '+%Y-%m-%d %H:%M:%S')" "$1" >>$LOG
}

# step WHAT COMMAND...: says in one line what it does, and does it; where that fails, shows why and ends.
# Not for the left side of || or &&, where bash would go on after an error within it.
step() {
  local what=$1 status; shift
  say "$what"
  open_log "$what"
  set +e
  (set -e; "$@") >>$LOG 2>&1
  status=$?
  set -e
  if [ $status = 0 ]; then return; fi
  tail -n 12 $LOG >&3
  fail "failed (exit status $status): $what. All that was said: $LOG. What is done stays: call this again."
}

as_root() { # runs a command as root, saying so where that takes sudo
  if [ "$(id -u)" = 0 ]; then "$@"; return; fi
  have sudo || return 1
  say "this needs root, so sudo may ask for your password: $*"
  sudo -v 2>&3 || return 1
  sudo "$@"
}

apt_install() { # installs Debian packages; false where that is not possible
  have apt-get || return 1
  say "apt-get install $*"
  open_log "apt-get install $*"
  if ! apt_updated; then as_root apt-get update >>$LOG 2>&1 || return 1; fi
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@" >>$LOG 2>&1
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
    apt_install python3-venv || fail "$python has no venv module: install python3-venv (what apt-get said: $LOG)"
  fi
  step "virtual environment in $VENV/ ($("$python" --version))" new_venv "$python"
}

new_venv() { # in place of whatever is there but the log
  find $VENV/ -mindepth 1 -maxdepth 1 ! -name setup.log -exec rm -rf {} +
  "$1" -m venv $VENV
}

# install_lock LOCK: everything the lock names, at those versions with those hashes. A stamp remembers it.
install_lock() {
  local stamp=$VENV/.installed-$1 digest
  digest=$(sha256sum "$1" | cut -d' ' -f1)
  if [ "$(cat "$stamp" 2>/dev/null)" = "$digest" ]; then return; fi
  rm -f "$stamp"
  step "packages of $1 (a few minutes the first time)" $PIP --require-hashes --no-deps -r "$1"
  echo "$digest" >"$stamp"
}

# torch stands apart from the lock: its CPU build has another origin, and so other hashes, than the CUDA build.
install_torch() {
  local cuda=no
  if have nvidia-smi && nvidia-smi -L 2>/dev/null | grep -q GPU; then cuda=yes; fi
  if torch_is_there $cuda; then return; fi
  if [ -n "${TORCH_INDEX_URL:-}" ]; then
    step "torch $TORCH from $TORCH_INDEX_URL" $PIP --index-url "$TORCH_INDEX_URL" "torch==$TORCH"
  elif [ $cuda = yes ]; then
    step "torch $TORCH with CUDA: an NVIDIA GPU is here" $PIP "torch==$TORCH"
  else
    step "torch $TORCH for the CPU" cpu_torch
  fi
  [ $cuda = yes ] || [ -n "${TORCH_INDEX_URL:-}" ] ||
    $VENV/bin/python -c 'import sys, torch; sys.exit(torch.version.cuda is not None)' ||
    fail "a CUDA build of torch was installed, but there is no GPU: set TORCH_INDEX_URL to an index of CPU builds"
}

torch_is_there() { # torch_is_there CUDA: it says so itself once, a stamp from then on, since importing it takes seconds
  local stamp=$VENV/.installed-torch version
  if [ "$(cat $stamp 2>/dev/null)" = "$TORCH $1" ] && compgen -G "$VENV/lib/python*/site-packages/torch-$TORCH*" >/dev/null
  then return; fi
  rm -f $stamp
  version=$($VENV/bin/python -c "import torch; print(torch.__version__.split('+')[0], torch.version.cuda is None)" 2>/dev/null || true)
  case "$version $1" in
    "$TORCH True no" | "$TORCH False yes") echo "$TORCH $1" >$stamp ;;
    *) return 1 ;;
  esac
}

cpu_torch() { # an index that cannot be reached is given up after one try; then plain pip, as it is set up here
  $PIP --retries 0 --timeout 20 --index-url $CPU_INDEX "torch==$TORCH" || $PIP "torch==$TORCH"
}

has_chromium() { # a real one, not Ubuntu's stub that asks for a snap
  $VENV/bin/python -c 'import sys; from tasks.browser.chromium import find_binaries as find; sys.exit(None in (find().chromium, find().driver))'
}

install_chromium() {
  if has_chromium || [ -e $VENV/.no-chromium-in-apt ]; then return; fi
  apt_install chromium-headless-shell chromium-driver chromium || apt_install chromium chromium-driver || true
  if has_chromium; then return; fi
  touch $VENV/.no-chromium-in-apt # a second call does not ask again
  say "no real Chromium from apt-get here (why: $LOG): Selenium Manager fetches one when the first page needs it"
}

install_compiler() { # training is about twice as fast compiled; without a compiler it still works
  if have c++ && [ -e "$($VENV/bin/python -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ]; then return; fi
  apt_install g++ python3-dev || say "no C++ compiler (why: $LOG): training works, but slower"
}

# fetch_novels: the demo's prose, a file of Debian's package r-cran-janeaustenr. Downloading one needs no root.
fetch_novels() {
  if [ -e $NOVELS ]; then return; fi
  say "Jane Austen's novels, for the demo to read (r-cran-janeaustenr, 1.6 MB)"
  open_log "novels"
  unpack_novels >>$LOG 2>&1 || say "no novels from apt-get here (why: $LOG): the demo reads its reference pages alone"
}

unpack_novels() {
  local folder=$VENV/novels
  have apt-get && have dpkg || { echo "apt-get and dpkg are not here"; return 1; }
  apt_updated || [ "$(id -u)" != 0 ] || apt-get update || return 1
  rm -rf $folder && mkdir $folder || return 1
  (cd $folder && apt-get -o Acquire::Retries=1 -o Acquire::http::Timeout=20 download r-cran-janeaustenr) || return 1
  dpkg -x $folder/*.deb $folder && mv $folder/usr/lib/R/site-library/janeaustenr/data/Rdata.rdb $NOVELS && rm -r $folder
}

install() {
  make_venv
  install_lock requirements.lock
  install_torch
  install_chromium
  install_compiler
}

# run_tests OPTIONS...: two processes more than there are cores, since many tests wait; a file's tests stay together,
# since they share what was dear to make; the files begin in their order, which is the longest first.
run_tests() {
  say "tests: pytest $*"
  local workers=$(($(nproc) + 2)) # asked first: nproc gives OMP_NUM_THREADS where that is set
  export OMP_NUM_THREADS=1 # torch's threads would fight with the other tests; a test of threads sets its own number
  exec $VENV/bin/python -m pytest -n $workers --dist loadfile --no-loadscope-reorder --durations=30 "$@"
}

case "$*" in
  "" | install)
    install
    say "installed. Next: ./setup.sh demo (a look first) or .venv/bin/python run.py (a night of deployments/nightly.toml)"
    ;;
  demo)
    install
    fetch_novels
    say "one night of the demo profile"
    exec $VENV/bin/python run.py --profile demo
    ;;
  test | "test long")
    install
    install_lock requirements-dev.lock
    if [ "$*" = "test long" ]; then run_tests -m long; fi
    say "lint"
    $VENV/bin/ruff check .
    $VENV/bin/ruff format --check .
    say "types"
    $VENV/bin/mypy
    run_tests -m "not long"
    ;;
  -h | --help | help) sed -n '2,14s/^# \{0,1\}//p' "$0" ;;
  *) fail "unknown word '$*': say nothing, demo, test or test long" ;;
esac
