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

// Fills a new configuration; the caller frees it with mbedtls_ssl_config_free, also on failure.
bool load_credentials_configure(struct load_credentials *k, const struct load_options *o,
                                mbedtls_ssl_config *c);
// Gives it the key of connection `number`.
bool load_credentials_psk(const struct load_credentials *k, const struct load_options *o,
                          mbedtls_ssl_config *c, unsigned number);

#endif
