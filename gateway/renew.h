// SPDX-License-Identifier: Apache-2.0
// Parts take up changed files of credentials (gw_part.files, gw_part.renew) while they run: when the files change, and when somebody asks. main's thread.
#ifndef GW_RENEW_H
#define GW_RENEW_H

#include "gateway/daemon.h"

struct gw_renew;

// core and parts are main's.
enum gw_error gw_renew_open(const struct gw_core *core, const struct gw_parts *parts, struct gw_renew **renew, struct gw_why *why);
void gw_renew_close(struct gw_renew *renew); // NULL does nothing

// Readable when files may have changed; waits no longer than so many ms.
int gw_renew_fd(const struct gw_renew *renew);
int gw_renew_wait_ms(const struct gw_renew *renew);
// Takes up what has changed, and says so in diagnostics.
void gw_renew_look(struct gw_renew *renew);

// Which files are to be watched, by the configuration that parts run with: before they start, and after a reload.
void gw_renew_list(struct gw_renew *renew);

// A line for each part whose files were read again: why is NULL where they were taken, else the old ones stay in use.
typedef void gw_renew_fn(void *arg, const struct gw_part *part, const struct gw_why *why);
// Those whose files have changed, or were refused last; all: every part. tell may be NULL. GW_E_CONFIG: some were refused, the last of them with words.
enum gw_error gw_renew_do(struct gw_renew *renew, bool all, gw_renew_fn *tell, void *arg, struct gw_why *why);

#endif
