# shellcheck shell=bash disable=SC2012,SC2016,SC2034,SC2154 # names of folders; a format of apt's; variables of check-image.sh
# Podman, and a local stand-in for the Dockerfile's base image, where no registry can be reached; read by check-image.sh.
# Needs Debian and root. The stand-in is a minimal Debian with this machine's own Python of the same version in /usr/local,
# as in the official image. It is kept in ~/.cache/telnyx-session-exporter. Sets `engine`, adds to `build_flags`.

cache=${XDG_CACHE_HOME:-$HOME/.cache}/telnyx-session-exporter/image
base=$(sed -n 's/^FROM \(python:[^ ]*\).*/\1/p' Dockerfile | sort -u)
[[ $base =~ ^python:([0-9]+\.[0-9]+)-slim-([a-z]+)$ ]] || fail "no stand-in can be made for the base image '$base'"
version=${BASH_REMATCH[1]} suite=${BASH_REMATCH[2]}
python=${PYTHON_PREFIX:-$(ls -d "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".* 2>/dev/null | sort -V | tail -n 1 || true)}

if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
  fail "Docker doesn't run; start it, set ENGINE to an engine that can pull $base, or run this as root on Debian"
fi
[ -x "$python/bin/python$version" ] ||
  fail "a stand-in for $base needs a Python $version from pyenv (PYENV_ROOT), or in another folder of its own (PYTHON_PREFIX)"

missing=()
for package in podman runc mmdebstrap openssl git ca-certificates; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q ' installed$' || missing+=("$package")
done
if ((${#missing[@]})); then
  say "installing ${missing[*]}"
  apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -o Acquire::Retries=3 -qq)
  "${apt[@]}" update
  "${apt[@]}" install -y --no-install-recommends "${missing[@]}" >/dev/null
fi

# Its own settings and storage, for a machine without systemd, as CI's: no cgroups of systemd's, no journal, no network.
mkdir -p "$cache"
cat >"$cache/storage.conf" <<CONF
[storage]
driver = "overlay"
runroot = "$cache/run"
graphroot = "$cache/graph"
CONF
cat >"$cache/containers.conf" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
CONF
export CONTAINERS_STORAGE_CONF=$cache/storage.conf CONTAINERS_CONF=$cache/containers.conf
export STORAGE_DRIVER=overlay BUILDAH_ISOLATION=chroot
engine=podman

# The build's pip asks the index that this machine's pip asks, and trusts whom it trusts.
index=${PIP_INDEX_URL:-$(pip config get global.index-url 2>/dev/null || true)}
printf '[global]\ncert = /etc/ssl/certs/ca-certificates.crt\n%s' "${index:+index-url = $index}" >"$work/pip.conf"
build_flags+=(--pull=never -v "$work/pip.conf:/etc/pip.conf:ro")

if ! podman image exists "docker.io/library/$base"; then
  say "making a stand-in for $base"
  root=$work/root
  mirror=$(apt-get indextargets --format '$(SITE)' 'Created-By: Packages' "Codename: $suite" | head -n 1)
  # The libraries are those that Python's own modules need.
  mmdebstrap --quiet --variant=essential \
    --include=ca-certificates,libbz2-1.0,libexpat1,libffi8,liblzma5,libreadline8,libsqlite3-0,libssl3,netbase,tzdata,zlib1g \
    "$suite" "$root" ${mirror:+"$mirror"}
  cp /etc/ssl/certs/ca-certificates.crt "$root/etc/ssl/certs/"
  # Without what was installed into it: the official image has nothing but pip.
  tar -C "$python" -c --exclude='*/site-packages/*' --exclude=__pycache__ --exclude='*/test' --exclude='*.a' \
    --exclude='./bin/pip*' . | tar -x -C "$root/usr/local"
  chroot "$root" ldconfig
  chroot "$root" /usr/local/bin/python3 -m ensurepip >/dev/null 2>&1
  ln -sf pip3 "$root/usr/local/bin/pip"
  ln -sf python3 "$root/usr/local/bin/python"
  tar -C "$root" -c . | podman import --quiet --change 'CMD ["python3"]' \
    --change 'ENV PATH=/usr/local/bin:/usr/local/sbin:/usr/sbin:/usr/bin:/sbin:/bin' - "docker.io/library/$base" >/dev/null
fi
