# SPDX-License-Identifier: Apache-2.0
# Debian packages by purpose, sourced by ./run and ./test; works on Debian 12 and 13.

VG_PACKAGES_BUILD="build-essential cmake ninja-build pkg-config python3 ca-certificates curl bzip2 xz-utils patch
 liblmdb-dev libcbor-dev libcyaml-dev libsodium-dev libpaho-mqtt-dev libssl-dev"
VG_PACKAGES_RUN="mosquitto mosquitto-clients libcoap3-bin openssl python3-hl7 python3-paho-mqtt"
VG_PACKAGES_TEST="libcmocka-dev python3-pytest python3-cbor2 python3-yaml python3-cryptography strace
 docker.io docker-compose debootstrap iptables uidmap"

# Debian 13 has yyjson, and Docker's client in a package of its own.
if [ "$(. /etc/os-release && echo "${VERSION_ID:-0}")" -ge 13 ] 2>/dev/null; then
	VG_PACKAGES_BUILD="$VG_PACKAGES_BUILD libyyjson-dev"
	VG_PACKAGES_TEST="$VG_PACKAGES_TEST docker-cli"
fi

vg_missing() {
	local package
	for package in "$@"; do
		dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || printf '%s ' "$package"
	done
}

# Installs what is missing of the packages named; shows that it moves.
vg_install() {
	local missing as=
	missing=$(vg_missing "$@")
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || {
			echo "These packages are missing and neither root nor sudo is at hand; ask an administrator for:" >&2
			echo "  apt-get install $missing" >&2
			return 1
		}
		as=sudo
	fi
	echo "Installing with apt: $missing"
	$as apt-get update -q 2>&1 | tail -n 1
	DEBIAN_FRONTEND=noninteractive $as apt-get install -y -q --no-install-recommends $missing 2>&1 |
		awk '/^(Setting up|Unpacking)/ { n++; printf "\r  %d steps, %s %s          ", n, $1, $2; fflush() } /^E:/ { print } END { print "" }'
	missing=$(vg_missing "$@")
	[ -z "$missing" ] || {
		echo "apt could not install: $missing" >&2
		echo "Run 'apt-get update' and 'apt-get install $missing' to see why." >&2
		return 1
	}
}
