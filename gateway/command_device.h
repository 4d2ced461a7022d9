// SPDX-License-Identifier: Apache-2.0
// Inside the device commands only: a device that is about to be added, with the secrets that were made for it.
#ifndef GW_COMMAND_DEVICE_H
#define GW_COMMAND_DEVICE_H

#include "gateway/command.h"

struct gw_new_device {
	struct gw_device device;
	bool psk_made;
	char password[32]; // the one that was generated; empty otherwise
};

void gw_new_device_generate_psk(struct gw_new_device *new);
// password NULL: one is generated and kept for the answer.
enum gw_error gw_new_device_password(struct gw_new_device *new, const char *password, struct gw_why *why);
// Whether its profile is known; words with the nearest one.
enum gw_error gw_new_device_profile(const struct gw_core *core, const struct gw_new_device *new, struct gw_why *why);
// Credentials as members: what its owner must be told once.
void gw_new_device_secrets(const struct gw_new_device *new, yyjson_mut_doc *doc, yyjson_mut_val *object);
void gw_new_device_fini(struct gw_new_device *new);

#endif
