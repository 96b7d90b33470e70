#!/usr/bin/env bash
# Builds the image and runs it as an operator would: nobody, read-only, without capabilities; plain, and with TLS and a
# password. `make check-image`; ENGINE=podman for another engine than Docker, BUILD_FLAGS for what its build needs.
set -euo pipefail
cd "$(dirname "$0")/.."
engine=${ENGINE:-docker}
image=telnyx-session-exporter:check
work=$(mktemp -d)
id=
trap '[ -z "$id" ] || "$engine" rm --force --volumes "$id" >/dev/null 2>&1; rm -rf "$work"' EXIT

# shellcheck disable=SC2086 # several flags
"$engine" build ${BUILD_FLAGS:-} -t "$image" . >"$work/log" 2>&1 || { tail -n 40 "$work/log"; exit 1; }
echo "size: $("$engine" image inspect --format '{{.Size}}' "$image") bytes"

openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 1 -subj /CN=localhost \
  -keyout "$work/server.key" -out "$work/server.crt" 2>/dev/null
# The password is `check`.
cat >"$work/web.yml" <<'YAML'
tls_server_config: {cert_file: server.crt, key_file: server.key}
basic_auth_users: {check: $2b$04$v.gSdxbxaC6WJ41uRr4TyuWXVSZHB812u2hgDaCEu4H.8pd89rw6S}
YAML
sed 's/key_file: server.key/&, client_auth_type: RequireAndVerifyClientCert, client_ca_file: server.crt/' \
  "$work/web.yml" >"$work/mutual.yml"
chmod -R a+rX "$work"

check() { # check WHAT ARGUMENT...: it becomes healthy, says so by its own HEALTHCHECK, and ends well
  local what=$1 begun seconds
  shift
  begun=$(date +%s%N)
  id=$("$engine" run -d --network=none --read-only --cap-drop ALL --security-opt no-new-privileges --memory 256m \
    -e TELNYX_API_KEY=unused -v "$work:/web:ro" -v "/data" "$image" "$@" 2>/dev/null)
  until "$engine" exec "$id" telnyx-session-exporter healthcheck >"$work/said" 2>&1; do
    seconds=$((($(date +%s%N) - begun) / 1000000000))
    ((seconds < 60)) || { "$engine" logs "$id"; echo "$what: never healthy: $(cat "$work/said")"; exit 1; }
    sleep 0.1
  done
  echo "$what: after $((($(date +%s%N) - begun) / 1000000)) ms: $(cat "$work/said")"
  [ "$("$engine" exec "$id" python -c 'import os; print(os.getuid())')" = 65534 ] || { echo "$what: not nobody"; exit 1; }
  ! "$engine" exec "$id" python -c 'open("/app/x", "w")' 2>/dev/null || { echo "$what: /app can be written"; exit 1; }
  "$engine" exec "$id" python -m sqlite3 /data/telnyx-sessions.sqlite "VACUUM INTO '/data/backup.sqlite'" >/dev/null
  "$engine" stop -t 30 "$id" >/dev/null
  [ "$("$engine" inspect --format '{{.State.ExitCode}}' "$id")" = 0 ] || { "$engine" logs "$id"; exit 1; }
  "$engine" rm --force --volumes "$id" >/dev/null
  id=
}

check plain run
check "TLS and a password" run --web.config.file=/web/web.yml
check "client certificates" run --web.config.file=/web/mutual.yml
