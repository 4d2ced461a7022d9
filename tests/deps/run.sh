#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Builds the tests of this folder against the libraries in PREFIX and runs each in a process of its own.
# usage: run.sh [PREFIX] [TEST...]     (default: build/deps, all)
# Prints "ok NAME" or "FAILED NAME"; says by its status whether all passed.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(realpath "${1:-$here/../../build/deps}")
[ $# = 0 ] || shift
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
${CC:-cc} -std=c2x -D_GNU_SOURCE -O1 -g ${CFLAGS:-} -I"$prefix/include" -o "$dir/tests" "$here"/*.c \
    -L"$prefix/lib" -lcoap-3 -lmbedtls -lmbedx509 -lmbedcrypto -lcmocka \
    -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free
status=0
for name in ${*:-$("$dir/tests" --list)}; do
    if (timeout 60 "$dir/tests" "$name") >"$dir/out" 2>&1; then
        echo "ok $name"
    else
        echo "FAILED $name: $(sed -nE 's/^(\[ +ERROR +\] ---|ERROR:) //p' "$dir/out" | head -n 1)"
        status=1
    fi
done
exit $status
