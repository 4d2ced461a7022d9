# SPDX-License-Identifier: Apache-2.0
# Debian packages by purpose, and how they are installed. Sourced by ./run and ./test; works on Debian 12 and 13.

VG_PACKAGES_BUILD="build-essential cmake ninja-build pkg-config python3 ca-certificates curl bzip2 xz-utils patch
 liblmdb-dev zlib1g-dev libcbor-dev libcyaml-dev libyaml-dev libsodium-dev libpaho-mqtt-dev libssl-dev libqrencode-dev"
VG_PACKAGES_RUN="mosquitto mosquitto-clients libcoap3-bin openssl python3-hl7 python3-paho-mqtt tzdata"
VG_PACKAGES_TEST="gnutls-bin libcmocka-dev libsqlite3-dev python3-pytest python3-cbor2 python3-yaml python3-cryptography python3-jsonschema strace
 rsyslog rsyslog-gnutls mkcert zbar-tools docker.io docker-compose debootstrap iptables uidmap tshark certbot pebble"

# Node.js of another origin brings its own npm, which Debian's would drive out.
command -v npm >/dev/null || VG_PACKAGES_TEST="$VG_PACKAGES_TEST nodejs npm"

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

# Shows what apt does: on a terminal in one line that moves, else every 25th step.
vg_apt_progress() {
	local word what more n=0 tty=0
	[ ! -t 1 ] || tty=1
	while read -r word what more; do
		case $word in
		Need) [ $tty = 0 ] || printf '\r%-78s\r' ''; echo "  $word $what $more"; continue ;;
		Get:* | Hit:* | Ign:* | Err:*) ;;
		Unpacking) more= ;;
		Setting) what=${more%% *} more= word='Setting up' ;;
		*) continue ;;
		esac
		n=$((n + 1))
		if [ $tty = 1 ]; then printf '\r  %-76.76s' "$word $what $more"; elif [ $((n % 25)) = 1 ]; then echo "  $word $what $more"; fi
	done
	[ $tty = 0 ] || printf '\r%-78s\r' ''
}

# Runs apt-get with its output in a file; what went wrong is shown whole.
vg_apt() {
	local log rc=0
	log=$(mktemp)
	"${vg_as[@]}" env DEBIAN_FRONTEND=noninteractive LC_ALL=C apt-get -q "$@" 2>&1 | tee "$log" | vg_apt_progress || rc=$?
	# apt-get update is content with servers that it cannot reach.
	if [ $rc != 0 ] || grep -qE '^(E:|W: Failed to fetch|Err:)' "$log"; then
		grep -E '^(E|W|Err:[0-9]*|dpkg:|Could not)' "$log" | sort -u | head -n 12 | sed 's/^/  apt: /' >&2
	fi
	rm -f "$log"
	return $rc
}

# Installs what is missing of the packages named; shows that it moves.
vg_install() {
	local missing
	missing=$(vg_missing "$@")
	[ -n "$missing" ] || return 0
	command -v apt-get >/dev/null || {
		echo "This is not Debian: apt-get is missing. Install what these Debian packages hold, or use docker/Dockerfile:" >&2
		echo "  $missing" >&2
		return 1
	}
	vg_as=()
	if [ "$(id -u)" != 0 ]; then
		command -v sudo >/dev/null || {
			echo "Packages are missing, and neither root nor sudo is at hand. Run this as root, then start again:" >&2
			echo "  apt-get update && apt-get install --no-install-recommends $missing" >&2
			return 1
		}
		vg_as=(sudo)
	fi
	echo "Installing with apt${vg_as:+ (sudo may ask for your password)}: $missing"
	vg_apt update || true
	if ! vg_apt install -y --no-install-recommends $missing || [ -n "$(vg_missing $missing)" ]; then
		echo "apt could not install: $(vg_missing $missing)" >&2
		echo "Is there a network, and room on the disk? To see more, run as root:" >&2
		echo "  dpkg --configure -a; apt-get update && apt-get install --no-install-recommends $(vg_missing $missing)" >&2
		return 1
	fi
}

# Configures and builds a preset; what CMake says is shown when it fails, what the compiler says always.
vg_build() { # preset [target...]
	local log=build/$1.cmake.log preset=$1
	shift
	mkdir -p build
	cmake --preset "$preset" >"$log" 2>&1 || { cat "$log" >&2; return 1; }
	cmake --build --preset "$preset" ${1:+--target "$@"}
}
