// SPDX-License-Identifier: Apache-2.0
// Inside the registry only: passwords, and the memory of those that were right.
#ifndef GW_REGISTRY_PASSWORD_H
#define GW_REGISTRY_PASSWORD_H

#include "gateway/registry.h"

struct gw_passwords;
struct gw_passwords *gw_passwords_new(void); // NULL: out of memory
void gw_passwords_free(struct gw_passwords *passwords);
// Any thread. Milliseconds of Argon2id, or microseconds where it was right before.
bool gw_passwords_known(struct gw_passwords *passwords, const struct gw_device *device, struct gw_span password);
bool gw_passwords_check(struct gw_passwords *passwords, const struct gw_device *device, struct gw_span password);

#endif
