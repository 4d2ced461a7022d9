// SPDX-License-Identifier: Apache-2.0
// The gateway's own trust, where no certificate is configured: an authority in a folder (tls.local_dir), made once, or one of the site's (tls.local_ca, such as
// mkcert's); a server certificate of it with the names and all addresses of this machine; certificates for devices; its revocation list.
//
// In the folder: ca.pem and ca.key (the authority, unless tls.local_ca names another), gateway.pem (certificate and authority: a device that knows no more than the
// authority's sum finds it in the handshake), gateway.key, crl.pem. Keys are 0600, the folder 0700. A renewed certificate keeps its key, so that
// whoever pinned the key goes on.
//
// Threads: any; whoever has it open has it alone, also among processes (flock on the folder).
#ifndef GW_LOCAL_H
#define GW_LOCAL_H

#include "adapters/pki/pki.h"

#include "gateway/config.h"

#include <limits.h>

struct gw_local_paths {
	char dir[PATH_MAX - 32];
	char ca[PATH_MAX], ca_key[PATH_MAX], certificate[PATH_MAX], key[PATH_MAX], crl[PATH_MAX];
};
void gw_local_paths(const struct gw_config *config, struct gw_local_paths *paths);
// Whether the doors use it: nothing else is configured (or gw_local_apply() has set its paths).
bool gw_local_used(const struct gw_config *config);
// Where it is used, sets tls.certificate, tls.key and, unless the site names authorities of its own, tls.ca and tls.crl to its files. They need not exist yet.
enum gw_error gw_local_apply(struct gw_config *config, struct gw_why *why);

struct gw_local;
// Waits for whoever has it open. Without an authority one is made, unless tls.local_ca names one.
enum gw_error gw_local_open(const struct gw_config *config, struct gw_local **local, struct gw_why *why);
void gw_local_close(struct gw_local *local); // NULL does nothing
const struct gw_local_paths *gw_local_files(const struct gw_local *local);
const struct gw_pki_ca *gw_local_authority(const struct gw_local *local);
const struct gw_pki_info *gw_local_authority_info(const struct gw_local *local);
// The authority's certificate, as it is in its file.
struct gw_span gw_local_authority_pem(const struct gw_local *local);

// Names and addresses of this machine now: what its certificate should say. *names is one block (array and texts): free() it.
enum gw_error gw_local_names(const struct gw_config *config, char ***names, size_t *count, struct gw_why *why);
// Makes the server's certificate where there is none, where a third of its life is left, where a name or address is missing in it, or where it is of another
// authority. *reason: why it was made, NULL where it stays as it is.
enum gw_error gw_local_renew(struct gw_local *local, const struct gw_config *config, struct gw_pki_info *info, const char **reason, struct gw_why *why);

// The revocation list with these, and with whatever the present list has: written where it differs or a third of its life is gone. *written may be NULL.
enum gw_error gw_local_revoke(struct gw_local *local, const struct gw_pki_revoked *revoked, size_t count, bool *written, struct gw_why *why);

#endif
