#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Shows that the patches are needed: builds the libraries without them into WORK, and expects every test that names
# a patch (p02_...) to fail there, every contract_... test to pass, and all to pass with the patches.
# usage: prove.sh [PREFIX [WORK]]      (default: build/deps and build/deps-unpatched)
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
prefix=$(realpath "${1:-$here/../../build/deps}")
work=$(realpath -m "${2:-$here/../../build/deps-unpatched}")
VITALGATE_DEPS_SOURCES=${VITALGATE_DEPS_SOURCES:-$prefix.work/sources} \
    "$here/../../adapters/deps/build.sh" --unpatched "$work"
status=0
"$here/run.sh" "$prefix" >"$work/patched.txt" || true
"$here/run.sh" "$work" >"$work/unpatched.txt" 2>&1 || true
while read -r result name _; do
    name=${name%:}
    without=$(grep -E "^(ok|FAILED) $name\b" "$work/unpatched.txt")
    case "$result $name $without" in
    "ok p"*" FAILED"*) echo "needed    $name    (without: ${without#FAILED "$name"})" ;;
    "ok contract_"*" ok"*) echo "contract  $name" ;;
    *) echo "WRONG     $name: with patches $result, without: $without"; status=1 ;;
    esac
done <"$work/patched.txt"
exit $status
