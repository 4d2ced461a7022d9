// SPDX-License-Identifier: Apache-2.0
// Between credentials.c and link.c: the TLS configuration of one connection.
#ifndef BENCH_CREDENTIALS_H
#define BENCH_CREDENTIALS_H

#include "load.h"

struct load_psk {
	char identity[LOAD_NAME_MAX];
	uint8_t key[64];
	size_t key_size;
};

// What belongs to one connection alone: Mbed TLS keeps a client's PSK and certificate in the
// configuration.
struct load_own {
	mbedtls_ssl_config conf;
	mbedtls_x509_crt cert;
};

// Reads the CA's key and makes the one key pair of all connections.
bool load_issuer_open(struct load_credentials *k, const struct load_options *o);
// Makes the certificate of connection `number`.
bool load_issue(struct load_credentials *k, const struct load_options *o, mbedtls_x509_crt *to,
                unsigned number);

// Fills a new configuration; the caller frees it with mbedtls_ssl_config_free, also on failure.
bool load_credentials_configure(struct load_credentials *k, const struct load_options *o,
                                mbedtls_ssl_config *c);
// Gives it the key of connection `number`.
bool load_credentials_psk(const struct load_credentials *k, const struct load_options *o,
                          mbedtls_ssl_config *c, unsigned number);

#endif
