// SPDX-License-Identifier: Apache-2.0
// TLS 1.2 and 1.3 in the client's role: one link on one connected non-blocking socket, no waiting anywhere. The server must show a certificate of an
// authority that is named, valid now, and for the name or address that is expected (subject alternative names; the common name where there are none: RFC 6125).
// Nothing weaker is ever taken, and no session is resumed: a link is opened seldom and lives long. Files are read for each link, so that a renewed
// certificate is used from the next connection on. A key (PEM) that others may read is refused.
//
// Threads: a link belongs to one thread. Links and servers may shake hands on different threads: steps of handshakes exclude each other (tls_internal.h).
#ifndef GW_TLS_CLIENT_H
#define GW_TLS_CLIENT_H

#include "adapters/tls/tls.h"

struct gw_tls_client_options {
	const char *ca;                // PEM file of authorities
	const char *certificate, *key; // PEM files of what the client shows; NULL or empty: nothing
	const char *name;              // DNS name or IP address that must stand in the server's certificate
};

struct gw_tls_link;

// Reads the files, and checks that key and certificate belong together and the certificates are not expired. GW_E_CONFIG: why says which file.
enum gw_error gw_tls_client_check(const struct gw_tls_client_options *options, struct gw_why *why);
// fd stays the caller's.
enum gw_error gw_tls_link_open(const struct gw_tls_client_options *options, int fd, struct gw_tls_link **link, struct gw_why *why);
void gw_tls_link_close(struct gw_tls_link *link); // with close_notify where it is still of use; NULL does nothing

// As gw_tls_handshake(), gw_tls_read() and gw_tls_write() of tls.h.
enum gw_tls_step gw_tls_link_handshake(struct gw_tls_link *link);
enum gw_tls_step gw_tls_link_read(struct gw_tls_link *link, void *buf, size_t cap, size_t *len);
enum gw_tls_step gw_tls_link_write(struct gw_tls_link *link, const void *bytes, size_t len, size_t *taken);
// After CLOSED or FAILED: what went wrong, and which check of the certificate failed, for people. Valid as long as link.
const char *gw_tls_link_reason(const struct gw_tls_link *link);
const char *gw_tls_link_version(const struct gw_tls_link *link);

#endif
