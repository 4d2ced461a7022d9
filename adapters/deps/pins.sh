# SPDX-License-Identifier: Apache-2.0
# The libraries that Vitalgate builds for itself: versions, hashes and options, each with its reason.
# Read by build.sh and by nothing else. A change here rebuilds what it touches.

# --- where sources may come from -------------------------------------------------------------------
DEBIAN_FALLBACK_MIRROR="http://deb.debian.org/debian"
DEBIAN_KEYRINGS="/usr/share/keyrings/debian-archive-keyring.gpg /usr/share/keyrings/debian-archive-keyring.pgp"

# For each library:
#   _DEBIAN   Debian's source package; _ARCHIVE its upstream archive; _SHA256 that file's hash
#   _SUITES   Debian suites whose source index is asked, in this order, until the pinned archive is found. Debian 12
#             and 13 have older versions, so newer suites are read as *source* only; nothing of theirs is installed
#   _URLS     the second way: archives with the same content (checked by _TREE, since the file itself may differ)
#   _CONTENT  what is hashed of the unpacked archive ("." is all of it)
#   _TREE     SHA-256 of the list "sha256  path" of those files, sorted bytewise: the same whatever packed them

# --- Mbed TLS ---------------------------------------------------------------------------------------
# 3.6 is the LTS branch: TLS 1.3, DTLS Connection ID in the RFC 9146 form. Before 3.6.7 there are remote
# overflows (ECDHE-PSK, DTLS renegotiation), and Debian 12's 2.28 has neither TLS 1.3 nor Connection ID.
MBEDTLS_VERSION=3.6.7
MBEDTLS_DEBIAN=mbedtls
MBEDTLS_SUITES="forky sid trixie"
MBEDTLS_ARCHIVE=mbedtls_3.6.7.orig.tar.bz2
MBEDTLS_SHA256=a7e8bcbec0e6f761b4af24f25677626b35f762f68eef79c08677a363212d11f6
MBEDTLS_CONTENT=.
MBEDTLS_TREE=379048efdb7cca7641f8bb2e247cfb9c424f45151feac6e078ff741daf914f3e
MBEDTLS_URLS="
https://github.com/Mbed-TLS/mbedtls/releases/download/mbedtls-3.6.7/mbedtls-3.6.7.tar.bz2
https://snapshot.debian.org/file/e892e98cff90cf7e0736c525bf357626a2513c4c"

# Applied with scripts/config.py to the upstream default, so that the installed header tells users the same.
MBEDTLS_SET="
MBEDTLS_THREADING_C
MBEDTLS_THREADING_PTHREAD
MBEDTLS_SSL_IN_CONTENT_LEN=16384
MBEDTLS_SSL_OUT_CONTENT_LEN=4096
"
# THREADING_*            several threads make handshakes; PSA's key store and the RNG are then locked
# SSL_IN_CONTENT_LEN     a peer may send full 16 KB TLS records, and in TLS 1.2 cannot be told otherwise
# SSL_OUT_CONTENT_LEN    our answers are small; saves 12 KB of memory per connection
#                        (SSL_VARIABLE_BUFFER_LENGTH would shrink both once a handshake is over, but measured
#                        resident memory grows by it: what is freed lies between what stays)
MBEDTLS_UNSET="
MBEDTLS_SELF_TEST MBEDTLS_DEBUG_C MBEDTLS_VERSION_FEATURES
MBEDTLS_SSL_RENEGOTIATION
MBEDTLS_SSL_DTLS_CLIENT_PORT_REUSE
MBEDTLS_SSL_CONTEXT_SERIALIZATION
MBEDTLS_KEY_EXCHANGE_RSA_ENABLED MBEDTLS_KEY_EXCHANGE_DHE_RSA_ENABLED MBEDTLS_KEY_EXCHANGE_DHE_PSK_ENABLED
MBEDTLS_KEY_EXCHANGE_RSA_PSK_ENABLED MBEDTLS_KEY_EXCHANGE_ECDH_RSA_ENABLED MBEDTLS_KEY_EXCHANGE_ECDH_ECDSA_ENABLED
MBEDTLS_DHM_C
MBEDTLS_DES_C MBEDTLS_CAMELLIA_C MBEDTLS_ARIA_C MBEDTLS_RIPEMD160_C MBEDTLS_MD5_C MBEDTLS_PADLOCK_C
MBEDTLS_LMS_C MBEDTLS_PKCS7_C MBEDTLS_NIST_KW_C MBEDTLS_ECJPAKE_C
MBEDTLS_PSA_CRYPTO_STORAGE_C MBEDTLS_PSA_ITS_FILE_C
MBEDTLS_ECP_DP_SECP192R1_ENABLED MBEDTLS_ECP_DP_SECP224R1_ENABLED
MBEDTLS_ECP_DP_SECP192K1_ENABLED MBEDTLS_ECP_DP_SECP224K1_ENABLED MBEDTLS_ECP_DP_SECP256K1_ENABLED
MBEDTLS_ECP_DP_BP256R1_ENABLED MBEDTLS_ECP_DP_BP384R1_ENABLED MBEDTLS_ECP_DP_BP512R1_ENABLED
MBEDTLS_PSA_P256M_DRIVER_ENABLED
"
# SSL_RENEGOTIATION      nobody needs it, and it has been a source of remote defects
# CLIENT_PORT_REUSE      another handshake inside a DTLS session, unseen by libcoap: its new peer would be taken for the former one. A new handshake is
#                        a new session (patches/libcoap/08-peer-restarts.patch)
# KEY_EXCHANGE_RSA ...   no forward secrecy, or finite-field DH; PSK, ECDHE-PSK, ECDHE-ECDSA and ECDHE-RSA stay
# DES ... MD5            broken or unused; SHA-1 stays because encrypted PKCS#5 key files use it
# LMS ... ECJPAKE        not used by TLS as configured here
# PSA_CRYPTO_STORAGE     keys live in memory only; no files are to appear in the working directory
# ECP_DP_*               P-256, P-384, P-521, X25519 and X448 stay
# PSA_P256M              four times slower than the built-in P-256 on x86-64
MBEDTLS_CMAKE="-DENABLE_TESTING=OFF -DENABLE_PROGRAMS=OFF -DGEN_FILES=OFF -DMBEDTLS_FATAL_WARNINGS=OFF
 -DUSE_STATIC_MBEDTLS_LIBRARY=ON -DUSE_SHARED_MBEDTLS_LIBRARY=OFF"

# --- libcoap ----------------------------------------------------------------------------------------
# The last release whose source Debian carries. Only the Mbed TLS backend has Connection ID on the server.
# It must not face devices unpatched: patches/libcoap/ tells why, patch by patch.
LIBCOAP_VERSION=4.3.5
LIBCOAP_DEBIAN=libcoap3
LIBCOAP_SUITES="forky sid trixie"
LIBCOAP_ARCHIVE=libcoap3_4.3.5.orig.tar.bz2
LIBCOAP_SHA256=a332b682ceacef4c3130b2fb17851db02020c3f64b8a562c1ffd8d9b8a9320d4
LIBCOAP_CONTENT=.
LIBCOAP_TREE=8b6384b0b5ae106b0b96a69f9b10b814a630a03c0d100994b8eff08c6759df7e
LIBCOAP_URLS="
https://github.com/obgm/libcoap/archive/refs/tags/v4.3.5.tar.gz
https://snapshot.debian.org/file/4f652109f730eb7494c0880fecd46b049fdabb47"
# ENABLE_THREAD_SAFE     one context lives on one thread; the lock of 4.3.5 is global and left held on a callback
# ENABLE_OSCORE          not used; takes its configuration parser (CVE-2025-59391) out of the build
# ENABLE_TCP, _WS        devices speak CoAP over DTLS; no stream parser to attack
# ENABLE_Q_BLOCK, _ASYNC, _PROXY, OBSERVE_PERSIST, AF_UNIX    not used: less code that a datagram can reach
# ENABLE_CLIENT_MODE     on: tests and the load generator are clients
# MAX_LOGGING_LEVEL      6 (info): compiles the formatting of every packet out
LIBCOAP_CMAKE="-DDTLS_BACKEND=mbedtls -DBUILD_SHARED_LIBS=OFF -DENABLE_THREAD_SAFE=OFF
 -DENABLE_OSCORE=OFF -DENABLE_TCP=OFF -DENABLE_WS=OFF -DENABLE_Q_BLOCK=OFF -DENABLE_ASYNC=OFF
 -DENABLE_PROXY_CODE=OFF -DWITH_OBSERVE_PERSIST=OFF -DENABLE_AF_UNIX=OFF -DENABLE_CLIENT_MODE=ON
 -DENABLE_DOCS=OFF -DENABLE_EXAMPLES=OFF -DENABLE_TESTS=OFF -DMAX_LOGGING_LEVEL=6"
# --with-stock-example: libcoap as released, for comparison in the benchmark; its own defaults, but without
# the global lock, which would only slow it down.
STOCK_CMAKE="-DDTLS_BACKEND=mbedtls -DBUILD_SHARED_LIBS=OFF -DENABLE_THREAD_SAFE=OFF -DENABLE_DOCS=OFF"

# --- yyjson -----------------------------------------------------------------------------------------
# Built only where the release has no libyyjson-dev (Debian 12). The same version as Debian 13's package.
YYJSON_VERSION=0.10.0
YYJSON_DEBIAN=yyjson
YYJSON_SUITES="trixie forky sid"
YYJSON_ARCHIVE=yyjson_0.10.0+ds.orig.tar.xz
YYJSON_SHA256=ae6fde69a193e10afab426ef13f113d6903446405f9db9ee98bfb572bd6c961a
YYJSON_CONTENT="src/yyjson.c src/yyjson.h"
YYJSON_TREE=e4b88486eb550dbe2feb8e6e52525aba9f47bff8abce57b3cea94b22123d4c23
YYJSON_URLS="
https://github.com/ibireme/yyjson/archive/refs/tags/0.10.0.tar.gz
https://snapshot.debian.org/file/6b643bbcc31881410d2106fd4138db9c63e6d721"

# --- compiler ---------------------------------------------------------------------------------------
# Hardened as the release build is. libcoap keeps its assertions (no NDEBUG): a failed one ends the process
# before it writes where it must not. -fPIC: the program is position independent.
DEPS_CFLAGS="-O2 -g -fPIC -fstack-protector-strong -fstack-clash-protection -D_FORTIFY_SOURCE=2 -Wno-error"
