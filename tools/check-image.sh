#!/usr/bin/env bash
# Build the image from the last commit, and run it as an operator would: as nobody, read-only, without capabilities.
# It must become healthy in time, serve /metrics, and end with exit code 0 on SIGTERM; so also with TLS and a password.
#
#   tools/check-image.sh                 with Docker if it runs, otherwise as on CI: with podman, on Debian, as root,
#                                        where tools/base-image.sh installs podman and makes the base image
#   ENGINE=podman tools/check-image.sh   with another engine that can pull the base image
#
# BUILD_FLAGS has more flags for the build. HEALTHY_MS is the longest time from start to healthy (default: 2000).
set -euo pipefail
cd "$(dirname "$0")/.."
image=telnyx-session-exporter:check
work=$(mktemp -d)
id=
trap '[ -z "$id" ] || "$engine" rm --force --volumes "$id" >/dev/null 2>&1; rm -rf "$work"' EXIT

say() { printf 'image: %s\n' "$*"; }
fail() { # fail WHAT: print the container's log, if one runs, and what is wrong
  [ -z "$id" ] || "$engine" logs "$id" >&2 || true
  printf 'image: FAILED: %s\n' "$*" >&2
  exit 1
}

# shellcheck disable=SC2206 # several flags
build_flags=(${BUILD_FLAGS:-})
engine=${ENGINE:-}
if [ -z "$engine" ] && docker info >/dev/null 2>&1; then
  engine=docker
elif [ -z "$engine" ]; then
  # shellcheck source=tools/base-image.sh
  . tools/base-image.sh
fi
run_flags=(--network=none --read-only --cap-drop ALL --security-opt no-new-privileges --memory 256m -e TELNYX_API_KEY=unused)
if [ "$engine" = podman ]; then
  build_flags+=(--format docker)         # the OCI format has no HEALTHCHECK
  run_flags+=(--read-only-tmpfs=false)   # as in Docker, nothing but the volume can be written
fi

# A clean checkout: files that git doesn't track must not be what makes the image work.
mkdir "$work/context"
git archive HEAD | tar -x -C "$work/context"
[ -z "$(git status --porcelain)" ] || say "uncommitted changes are left out"
SECONDS=0
"$engine" build "${build_flags[@]}" --build-arg REVISION="$(git rev-parse HEAD)" -t "$image" "$work/context" \
  >"$work/log" 2>&1 || { tail -n 40 "$work/log" >&2; fail "the build"; }
say "built in $SECONDS s with $engine, $("$engine" image inspect --format '{{.Size}}' "$image") bytes"

mkdir "$work/web"
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
  -keyout "$work/web/server.key" -out "$work/web/server.crt" 2>/dev/null
# The password is `check`.
cat >"$work/web/web.yml" <<'YAML'
tls_server_config: {cert_file: server.crt, key_file: server.key}
basic_auth_users: {check: $2b$04$v.gSdxbxaC6WJ41uRr4TyuWXVSZHB812u2hgDaCEu4H.8pd89rw6S}
YAML
sed 's/key_file: server.key/&, client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.crt/' \
  "$work/web/web.yml" >"$work/web/mutual.yml"
chmod -R a+rX "$work"

start() { # start ARGUMENT...: run a container until its own HEALTHCHECK succeeds; sets `id`, and `ms` to the time it took
  local begun healthcheck
  id=$("$engine" create "${run_flags[@]}" -v "$work/web:/web:ro" -v /data "$image" "$@" 2>"$work/log") || fail "$(cat "$work/log")"
  # Run here as it is in the image, since podman leaves that to systemd, which CI's machine lacks.
  mapfile -t healthcheck < <("$engine" container inspect --format '{{with .Config.Healthcheck}}{{join .Test "\n"}}{{end}}' "$id")
  [ "${healthcheck[0]:-}" = CMD ] || fail "no HEALTHCHECK that is a command"
  begun=$(date +%s%N)
  "$engine" start "$id" >/dev/null 2>"$work/log" || fail "$(cat "$work/log")"
  until "$engine" exec "$id" "${healthcheck[@]:1}" >"$work/answer" 2>&1; do
    ms=$((($(date +%s%N) - begun) / 1000000))
    ((ms < 60000)) || fail "$*: never healthy: $(cat "$work/answer")"
    [ "$("$engine" container inspect --format '{{.State.Running}}' "$id")" = true ] || fail "$*: the container has ended"
    sleep 0.05
  done
  ms=$((($(date +%s%N) - begun) / 1000000))
}

stop() { # stop WHAT: end the container as an engine does, by SIGTERM
  local code
  "$engine" stop -t 30 "$id" >/dev/null 2>"$work/log" || fail "$1: $(cat "$work/log")"
  code=$("$engine" container inspect --format '{{.State.ExitCode}}' "$id")
  [ "$code" = 0 ] || fail "$1: exit code $code after SIGTERM"
  "$engine" rm --force --volumes "$id" >/dev/null 2>&1
  id=
}

in_python() { "$engine" exec "$id" python -c "$1"; }

limit=${HEALTHY_MS:-2000}
# The quickest of up to five starts counts, since anything else that the machine does makes one slower.
for attempt in {1..5}; do
  start run
  ((ms > limit && attempt < 5)) || break
  stop run
done
say "healthy after $ms ms: $(cat "$work/answer")"
if ((ms > limit)); then
  # Where each core has more than two tasks to run, the time says nothing about the image.
  awk -v cores="$(nproc)" '{ exit !($1 > 2 * cores) }' /proc/loadavg || fail "the limit is $limit ms; HEALTHY_MS sets another"
  say "NOT JUDGED: more than $limit ms, but the machine is busy: load $(cut -d ' ' -f 1-3 /proc/loadavg)"
fi
[ "$(in_python 'import os; print(os.getuid())')" = 65534 ] || fail "it doesn't run as user 65534"
for path in /app/x /tmp/x /x; do
  ! in_python "open('$path', 'w')" 2>/dev/null || fail "$path can be written"
done
in_python 'from urllib.request import urlopen as get; print(get("http://127.0.0.1:9464/metrics").read().decode())' >"$work/metrics"
grep -q '^telnyx_exporter_build_info{.*} 1$' "$work/metrics" || fail "/metrics lacks telnyx_exporter_build_info"
say "$(grep -c '^[a-z]' "$work/metrics") samples on /metrics"
"$engine" exec "$id" python -m sqlite3 /data/telnyx-sessions.sqlite "VACUUM INTO '/data/backup.sqlite'" >/dev/null ||
  fail "the ledger can't be copied"
stop run
say "exit code 0 after SIGTERM"

for file in web.yml mutual.yml; do
  start run "--web.config.file=/web/$file"
  say "$file: healthy after $ms ms: $(cat "$work/answer")"
  stop "$file"
done
