#!/usr/bin/env bash
# Prove that an image works as it is to be run: not as root, nothing writable but /data and /tmp, no capability. It has to
# be healthy, to answer a request from a simulated exchange, and to end when it is told to. Needs ./platform.sh setup.
#
#   docker build --tag cb-trade . && deploy/check-image.sh cb-trade
#
# It listens on port 8797 of this machine; PORT names another.
#
# Without Docker, as root, with Buildah. PYTHON_IMAGE may name any base that has a Python from 3.11 to 3.14, with venv and
# pip, also one of your own: Debian's debootstrap makes one where no registry can be reached.
#
#   export BUILDAH_ISOLATION=chroot
#   buildah bud --format docker --build-arg PYTHON_IMAGE=localhost/my-python --tag cb-trade .
#   deploy/check-image.sh localhost/cb-trade
set -euo pipefail
cd "$(dirname "$0")/.."

image=${1:?which image?}
port=${PORT:-8797}
ready_timeout_secs=60
work=$(mktemp -d)
venv=${VENV:-.venv}

say() { printf 'check-image: %s\n' "$*"; }

die() {
    say "$*" >&2
    show_log >&2
    exit 1
}

cleanup() {
    remove_container
    [ -z "${simulator-}" ] || kill "$simulator" 2>/dev/null || true
    rm -rf "$work"
}

# 143 says by which signal: SIGTERM. SIGKILL, after too long, would be 137.
ended_well() { [ "$1" = 0 ] || [ "$1" = 143 ]; }

# ---- two ways to run a container ------------------------------------------------------------------------------------

if docker version >/dev/null 2>&1; then
    engine=docker
    start_container() { # ENVIRONMENT FILE
        docker run --detach --name "$name" --network host --read-only --tmpfs /tmp:mode=1777 --cap-drop ALL \
            --security-opt no-new-privileges --env-file "$1" "$image" >/dev/null
    }
    is_running() { [ "$(docker inspect --format '{{.State.Running}}' "$name")" = true ]; }
    in_container() { docker exec "$name" "$@"; }
    stop_container() {
        docker stop --time 20 "$name" >/dev/null
        ended_well "$(docker inspect --format '{{.State.ExitCode}}' "$name")"
    }
    show_log() { docker logs "$name" 2>&1 | tail -n 30; }
    remove_container() { docker rm --force --volumes "$name" >/dev/null 2>&1 || true; }
    size() { docker images --format '{{.Size}}' "$image"; }
elif command -v buildah >/dev/null; then
    engine=buildah
    # Where no runtime can make namespaces for a container, its root file system is one all the same: bound read-only,
    # entered with chroot as the image's own user, who has no capability and can gain none.
    start_container() {
        container=$(buildah from --pull-never "$image")
        root=$work/root
        mkdir "$root"
        mount --bind "$(buildah mount "$container")" "$root"
        mount -o remount,bind,ro "$root"
        mount -t tmpfs -o mode=1777 tmpfs "$root/tmp"
        mount -t tmpfs -o "mode=0750,uid=${user%:*},gid=${user#*:}" tmpfs "$root/data"
        mount --rbind /dev "$root/dev"
        mount --make-rslave "$root/dev"
        { settings_of_image && cat "$1"; } >"$work/environment"
        enter cb-trade serve >"$work/log" 2>&1 &
        served=$!
    }
    user=$(buildah inspect --type image --format '{{.OCIv1.Config.User}}' "$image")
    settings_of_image() { buildah inspect --type image --format '{{range .OCIv1.Config.Env}}{{println .}}{{end}}' "$image"; }
    is_running() { kill -0 "$served" 2>/dev/null; }
    in_container() { (enter "$@"); }
    enter() { # becomes the command, so that signals reach it
        local settings
        mapfile -t settings < <(grep . "$work/environment")
        exec setpriv --no-new-privs chroot --userspec="$user" "$root" env -i "${settings[@]}" "$@"
    }
    stop_container() {
        local status=0
        kill -TERM "$served"
        wait "$served" || status=$?
        ended_well "$status"
    }
    show_log() { tail -n 30 "$work/log" 2>/dev/null || true; }
    remove_container() {
        [ -z "${served-}" ] || kill -KILL "$served" 2>/dev/null || true
        [ -z "${root-}" ] || umount --recursive "$root" 2>/dev/null || true
        [ -z "${container-}" ] || buildah rm "$container" >/dev/null 2>&1 || true
    }
    size() { buildah images --format '{{.Size}}' "$image"; }
else
    say "there is neither a running Docker nor Buildah on this machine" >&2
    exit 2
fi

# ---- the check ------------------------------------------------------------------------------------------------------

name=cb-trade-check-$$
trap cleanup EXIT

if (: >"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
    die "port $port is taken; PORT names another"
fi

touch "$work/simulator"
"$venv/bin/cb-trade" simulate --port 0 >"$work/simulator" 2>/dev/null &
simulator=$!
until grep -q '^listening on ' "$work/simulator"; do
    kill -0 "$simulator" 2>/dev/null || die "the simulator did not start"
    sleep 0.1
done
exchange=$(sed -n 's/^listening on //p' "$work/simulator")
secret=$("$venv/bin/python" -c 'import secrets; print(secrets.token_urlsafe(48))')

say "starting $image with $engine"
cat >"$work/settings" <<END_OF_SETTINGS
CB_TRADE_AUTH__SECRET=$secret
CB_TRADE_HOST=127.0.0.1
CB_TRADE_PORT=$port
CB_TRADE_EXCHANGES__BINANCE__BASE_URL=$exchange/h
END_OF_SETTINGS
start_container "$work/settings"

token=$(in_container cb-trade token create --subject check-image --days 0.01)
deadline=$((SECONDS + ready_timeout_secs))
until in_container python /opt/cb-trade/healthcheck.py >/dev/null 2>&1; do
    is_running || die "it ended before it was healthy"
    [ "$SECONDS" -lt "$deadline" ] || die "it is not healthy after $ready_timeout_secs s"
    sleep 0.2
done
say "it is healthy"

# shellcheck disable=SC2016 # Python's
in_container python -c 'import os
assert os.getuid() == 10001, os.getuid()
for folder in ("/", "/opt/cb-trade", "/etc", "/usr"):
    try:
        open(os.path.join(folder, "written"), "w")
    except OSError:
        continue
    raise SystemExit(f"{folder} can be written to")
for folder in ("/data", "/tmp"):
    open(os.path.join(folder, "written"), "w").close()' || die "it may write where it must not, or the other way round"
say "it runs as 10001, and writes to /data and /tmp only"

CB_TRADE_CLIENT__TOKEN=$token "$venv/bin/python" deploy/smoke.py "http://127.0.0.1:$port" || die "it does not answer as it should"
stop_container || die "it did not end as it was told to"
say "it ended when it was told to"
say "it takes $(size), uncompressed"
