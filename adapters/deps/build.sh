#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds Mbed TLS, libcoap (with the patches beside this script) and, where Debian has no package, yyjson
# into one prefix that CMake finds by CMAKE_PREFIX_PATH. Installs nothing outside it and needs no root.
# Again without a change: returns at once. What to build and why: pins.sh.
set -euo pipefail
export LC_ALL=C
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/pins.sh"

usage() {
    cat <<USAGE
usage: build.sh [--with-stock-example] [--unpatched] [PREFIX]     (default: build/deps)
  --with-stock-example  also build libcoap's own client and server, unpatched, into PREFIX/stock/bin
  --unpatched           leave the patches out (to show that each test fails without its patch)
  VITALGATE_DEPS_SOURCES=DIR   take the archives from DIR instead of from the network
USAGE
}

stock=0 patched=1 prefix=
for arg in "$@"; do
    case $arg in
    --with-stock-example) stock=1 ;;
    --unpatched) patched=0 ;;
    -h | --help) usage; exit 0 ;;
    -*) usage >&2; exit 2 ;;
    *) prefix=$arg ;;
    esac
done
prefix=$(realpath -m "${prefix:-$here/../../build/deps}")
work=$prefix.work
log=$work/build.log
patches=$here/patches/libcoap

# --- telling what happens ---------------------------------------------------------------------------
say() { printf 'deps: [%3ds] %s\n' "$SECONDS" "$*"; }
die() { printf 'deps: error: %s\n' "$*" >&2; exit 1; }
# Runs a command with its output in the log; on failure shows the log's end.
run() {
    printf '\n+ %s\n' "$*" >>"$log"
    "$@" >>"$log" 2>&1 </dev/null && return 0
    tail -n 25 "$log" >&2
    die "'$1' failed; everything it said is in $log"
}

# --- stamps: what a built library was made from -----------------------------------------------------
hash_of() { sha256sum | cut -d' ' -f1; }
compiler() { ${CC:-cc} --version 2>/dev/null | head -n 1; }
patch_series() { # [00]: the 00- patches alone, without which nothing links
    find "$patches" -name "${1:-$([ "$patched" = 1 ] || echo 00)}*.patch" | sort
}
recipe() { sed -n '/^# --- building/,$p' "$here/build.sh"; }
stamp_mbedtls() { { compiler; recipe; echo "$MBEDTLS_TREE $MBEDTLS_SET $MBEDTLS_UNSET $MBEDTLS_CMAKE $DEPS_CFLAGS"; } | hash_of; }
stamp_libcoap() { { stamp_mbedtls; echo "$LIBCOAP_TREE $LIBCOAP_CMAKE"; patch_series | xargs -r cat; } | hash_of; }
stamp_stock() { { stamp_mbedtls; echo "$LIBCOAP_TREE $STOCK_CMAKE"; patch_series 00 | xargs -r cat; } | hash_of; }
stamp_yyjson() { { compiler; recipe; echo "$YYJSON_TREE $DEPS_CFLAGS"; } | hash_of; }
is_built() { [ "$(cat "$prefix/.stamp-$1" 2>/dev/null)" = "$(stamp_"$1")" ]; }
mark_built() { "stamp_$1" >"$prefix/.stamp-$1"; }

# --- what the machine must have ---------------------------------------------------------------------
require() { # command package
    command -v "$1" >/dev/null || missing="$missing $2"
}
check_tools() {
    missing=
    require "${CC:-cc}" gcc
    require "${CXX:-c++}" g++ # libcoap's project() asks for a C++ compiler and does not use it
    require cmake cmake
    require ninja ninja-build
    require patch patch
    require python3 python3
    require bzip2 bzip2
    require xz xz-utils
    [ -z "$missing" ] || die "missing on this machine; as root: apt-get install$missing"
}

# --- getting sources --------------------------------------------------------------------------------
# The hash of an unpacked tree: whatever archive it came in, the same files give the same hash.
tree_hash() { # dir content...
    (cd "$1" && shift && find "$@" -type f -print0 | sort -z | xargs -0 sha256sum | hash_of)
}

file_is() { [ -f "$1" ] && [ "$(hash_of <"$1")" = "$2" ]; }

unpack() { # archive dir
    rm -rf "$2" && mkdir -p "$2" && tar -xf "$1" -C "$2" --strip-components=1 --no-same-owner 2>>"$log"
}

# Debian's mirrors as this machine's apt knows them (both source formats, any number of URIs).
mirrors() {
    { apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null || true; } |
        grep -E '/debian(/|\.list)?$' | sed 's,/$,,' | sort -u
    echo "$DEBIAN_FALLBACK_MIRROR"
}

# A private apt: the machine's own settings (proxy and so on), but sources, lists and cache of its own. The index may be
# old, as a frozen mirror's is: it must be signed, and what is taken from it has a pinned hash.
apt_setup() { # suite
    apt_dir=$work/apt/$1
    mkdir -p "$apt_dir/lists/partial" "$apt_dir/cache/archives/partial" "$apt_dir/parts"
    printf 'Types: deb-src\nURIs: %s\nSuites: %s\nComponents: main\nSigned-By: %s\n' \
        "$2" "$1" "$keyring" >"$apt_dir/parts/source.sources"
    cat >"$apt_dir/apt.conf" <<CONF
#clear APT::Update;
Dir::Etc::SourceList "/dev/null";
Dir::Etc::SourceParts "$apt_dir/parts";
Dir::State::Lists "$apt_dir/lists";
Dir::Cache "$apt_dir/cache";
APT::Sandbox::User "";
Acquire::IndexTargets::deb-src::Contents-dsc::DefaultEnabled "false";
Acquire::Languages "none";
Acquire::Check-Valid-Until "false";
Acquire::Check-Date "false";
CONF
}

# The source package's version in the signed index whose archive has the pinned name and hash.
signed_version() { # package archive sha256
    apt-cache -c "$apt_dir/apt.conf" showsrc "$1" 2>>"$log" | awk -v file="$2" -v sha="$3" '
        /^Version:/ { version = $2 }
        NF == 3 && $1 == sha && $3 == file { print version; exit }'
}

# Debian: the archive must be in the signed index under the pinned hash before anything is fetched.
# apt-get may fail on another file of the package (some mirrors lack a .dsc): only the archive counts.
from_debian() { # package archive sha256 suites
    local suite mirror version
    keyring=$(ls $DEBIAN_KEYRINGS 2>/dev/null | head -n 1)
    command -v apt-get >/dev/null && [ -n "$keyring" ] || return 1
    for suite in $4; do
        for mirror in $(mirrors | awk '!seen[$0]++'); do
            apt_setup "$suite" "$mirror"
            if ! ls "$apt_dir"/lists/*Sources* >/dev/null 2>&1; then
                say "reading the source index of $suite at $mirror"
                apt-get -c "$apt_dir/apt.conf" update >>"$log" 2>&1 </dev/null || true
            fi
            version=$(signed_version "$1" "$2" "$3")
            [ -n "$version" ] || continue
            say "fetching $2 ($1 $version, $suite)"
            (cd "$work/sources" && apt-get -c "$apt_dir/apt.conf" -qq source --download-only "$1=$version" \
                >>"$log" 2>&1 </dev/null) || true
            file_is "$work/sources/$2" "$3" && return 0
            rm -f "$work/sources/$2"
        done
    done
    return 1
}

# Any archive counts whose unpacked content is the pinned one.
from_urls() { # name dir tree content urls
    command -v curl >/dev/null || return 1
    local url
    for url in $5; do
        say "fetching $url"
        curl -fsSL --connect-timeout 15 --max-time 300 --retry 2 -o "$work/sources/$1.download" "$url" 2>>"$log" || continue
        # shellcheck disable=SC2086
        if unpack "$work/sources/$1.download" "$2" && [ "$(tree_hash "$2" $4)" = "$3" ]; then
            mv "$work/sources/$1.download" "$work/sources/$1"
            return 0
        fi
        say "$url does not have the pinned content; not used"
        rm -f "$work/sources/$1.download"
    done
    return 1
}

# From a folder that somebody filled: a file of Debian's name, or of any of the URLs' names.
from_folder() { # archive dir tree content urls
    local name
    [ -n "${VITALGATE_DEPS_SOURCES:-}" ] || return 1
    for name in "$1" $(for url in $5; do basename "$url"; done); do
        [ -f "$VITALGATE_DEPS_SOURCES/$name" ] || continue
        # shellcheck disable=SC2086
        if unpack "$VITALGATE_DEPS_SOURCES/$name" "$2" && [ "$(tree_hash "$2" $4)" = "$3" ]; then
            cp "$VITALGATE_DEPS_SOURCES/$name" "$work/sources/$1"
            return 0
        fi
        say "$VITALGATE_DEPS_SOURCES/$name does not have the pinned content; not used"
    done
    return 1
}

# Leaves the verified, unpacked sources of NAME in DIR.
fetch() { # NAME dir
    local archive=$1_ARCHIVE sha=$1_SHA256 tree=$1_TREE content=$1_CONTENT urls=$1_URLS package=$1_DEBIAN
    local suites=$1_SUITES
    archive=${!archive} sha=${!sha} tree=${!tree} content=${!content} urls=${!urls} package=${!package} suites=${!suites}
    mkdir -p "$work/sources"
    if [ ! -f "$work/sources/$archive" ]; then
        from_folder "$archive" "$2" "$tree" "$content" "$urls" ||
            from_debian "$package" "$archive" "$sha" "$suites" ||
            from_urls "$archive" "$2" "$tree" "$content" "$urls" ||
            die "no source has $archive. Put it into a folder and say VITALGATE_DEPS_SOURCES=that folder.
  It is the upstream archive of Debian's source package '$package' (suites: $suites), sha256 $sha,
  or one of:$(printf '%s' "$urls" | sed 's/^/    /')
  What was tried is in $log"
    fi
    # shellcheck disable=SC2086
    if ! unpack "$work/sources/$archive" "$2" || [ "$(tree_hash "$2" $content)" != "$tree" ]; then
        rm -f "$work/sources/$archive"
        die "$archive does not have the pinned content and was removed; run this again"
    fi
}

# --- building ---------------------------------------------------------------------------------------
cflags() {
    local all=$DEPS_CFLAGS
    case $(${CC:-cc} -dumpmachine) in x86_64-*) all="$all -fcf-protection" ;; esac
    echo "$all -ffile-prefix-map=$work/=deps/"
}

# Configures and compiles; installing is left to the caller, so that a failed build leaves the prefix alone.
cmake_build() { # source objects install-prefix cflags options...
    local source=$1 objects=$2 dest=$3 flags=$4
    shift 4
    rm -rf "$objects"
    run cmake -S "$source" -B "$objects" -G Ninja -Wno-dev -DCMAKE_BUILD_TYPE=None "-DCMAKE_C_FLAGS=$flags" \
        "-DCMAKE_INSTALL_PREFIX=$dest" -DCMAKE_INSTALL_LIBDIR=lib -DCMAKE_POSITION_INDEPENDENT_CODE=ON "$@"
    run ninja -C "$objects"
}

# Takes away what an older build of the same library installed, then installs.
replace() { # name objects
    local manifest=$prefix/.files-$1
    rm -f "$prefix/.stamp-$1"
    [ ! -f "$manifest" ] || (cd "$prefix" && xargs -r -d '\n' rm -f <"$manifest")
    run ninja -C "$2" install
    cp "$2/install_manifest.txt" "$manifest"
    mark_built "$1"
}

build_mbedtls() {
    local src=$work/mbedtls name
    say "Mbed TLS $MBEDTLS_VERSION: getting the source"
    fetch MBEDTLS "$src"
    say "Mbed TLS $MBEDTLS_VERSION: building"
    # shellcheck disable=SC2086
    for name in $MBEDTLS_SET; do
        case $name in
        *=*) run python3 "$src/scripts/config.py" -f "$src/include/mbedtls/mbedtls_config.h" set "${name%%=*}" "${name#*=}" ;;
        *) run python3 "$src/scripts/config.py" -f "$src/include/mbedtls/mbedtls_config.h" set "$name" ;;
        esac
    done
    for name in $MBEDTLS_UNSET; do
        run python3 "$src/scripts/config.py" -f "$src/include/mbedtls/mbedtls_config.h" unset "$name"
    done
    # shellcheck disable=SC2086
    cmake_build "$src" "$work/mbedtls.o" "$prefix" "$(cflags)" $MBEDTLS_CMAKE
    replace mbedtls "$work/mbedtls.o"
}

apply_patches() { # dir [00]
    local file
    for file in $(patch_series "${2:-}"); do
        run patch -d "$1" -p1 --fuzz=0 --no-backup-if-mismatch -i "$file"
    done
}

build_libcoap() { # name source-dir dest options...
    local name=$1 src=$2 dest=$3
    shift 3
    fetch LIBCOAP "$src"
    apply_patches "$src" "$([ "$name" = libcoap ] || echo 00)"
    cmake_build "$src" "$src.o" "$dest" "$(cflags)" "$@" "-DCMAKE_PREFIX_PATH=$prefix" -DMBEDTLS_INCLUDE_DIRS="$prefix/include" \
        "-DMBEDTLS_LIBRARY=$prefix/lib/libmbedtls.a" "-DMBEDX509_LIBRARY=$prefix/lib/libmbedx509.a" \
        "-DMBEDCRYPTO_LIBRARY=$prefix/lib/libmbedcrypto.a"
    replace "$name" "$src.o"
}

# The release's own package, not what was built here
have_yyjson() { command -v pkg-config >/dev/null && env -u PKG_CONFIG_PATH pkg-config --exists yyjson; }

build_yyjson() {
    local src=$work/yyjson
    say "yyjson $YYJSON_VERSION: getting the source"
    fetch YYJSON "$src"
    say "yyjson $YYJSON_VERSION: building"
    # shellcheck disable=SC2046
    run ${CC:-cc} -std=c99 $(cflags) -c "$src/src/yyjson.c" -o "$work/yyjson.o"
    mkdir -p "$prefix/lib/pkgconfig" "$prefix/include"
    rm -f "$prefix/lib/libyyjson.a"
    run ar rcsD "$prefix/lib/libyyjson.a" "$work/yyjson.o"
    cp "$src/src/yyjson.h" "$prefix/include/"
    cat >"$prefix/lib/pkgconfig/yyjson.pc" <<PC
prefix=\${pcfiledir}/../..
Name: yyjson
Description: JSON library
Version: $YYJSON_VERSION
Cflags: -I\${prefix}/include
Libs: -L\${prefix}/lib -lyyjson
PC
    mark_built yyjson
}

main() {
    local todo=
    is_built mbedtls || todo="$todo mbedtls"
    is_built libcoap || todo="$todo libcoap"
    have_yyjson || is_built yyjson || todo="$todo yyjson"
    [ "$stock" = 0 ] || is_built stock || todo="$todo stock"
    [ -n "$todo" ] || { say "up to date in $prefix"; return 0; }

    check_tools
    mkdir -p "$prefix" "$work"
    exec 9>"$work/lock"
    flock -n 9 || { say "waiting for another build into $prefix"; flock 9; }
    : >"$log"
    case $todo in *mbedtls*) is_built mbedtls || build_mbedtls ;; esac
    if ! is_built libcoap; then
        say "libcoap $LIBCOAP_VERSION: building with $(patch_series | wc -l) patches"
        # shellcheck disable=SC2086
        build_libcoap libcoap "$work/libcoap" "$prefix" $LIBCOAP_CMAKE
    fi
    have_yyjson || is_built yyjson || build_yyjson
    if [ "$stock" = 1 ] && ! is_built stock; then
        say "libcoap $LIBCOAP_VERSION as released: building"
        # shellcheck disable=SC2086
        build_libcoap stock "$work/stock" "$prefix/stock" $STOCK_CMAKE
    fi
    rm -rf "$work"/{mbedtls,libcoap,stock,yyjson}{,.o}
    say "done: $prefix"
}
main
