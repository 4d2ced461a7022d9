// SPDX-License-Identifier: Apache-2.0
// Inside the device commands only: a device that is about to be added, with the secrets that were made for it.
#ifndef GW_COMMAND_DEVICE_H
#define GW_COMMAND_DEVICE_H

#include "gateway/certificates.h"
#include "gateway/command.h"

struct gw_new_device {
	struct gw_device device;
	bool psk_made;
	char password[32]; // the one that was generated; empty otherwise
	bool issued;       // a certificate was made for it
	struct gw_pki_text certificate, key; // key: empty where the device made its own
	struct gw_certificate row;
};

// Letters and digits that nobody mistakes for another when reading or typing: 5 bits each.
void gw_new_secret(char *out, size_t letters);
// Makes a certificate for it, with its subject (default: the id). issue: kind, days and request of it.
enum gw_error gw_new_device_issue(struct gw_issuer *issuer, const struct gw_issue *issue, struct gw_new_device *new, struct gw_why *why);
// gw_change.with: the rows of what was issued, of count devices side by side.
struct gw_new_devices {
	const struct gw_new_device *at;
	size_t count;
};
enum gw_error gw_new_devices_rows(void *arg, struct gw_ticket *ticket);
// --csr, --key-kind and --days of a call. request points into the call's arguments.
enum gw_error gw_call_issue(const struct gw_call *call, struct gw_issue *issue);

// ---- What a device needs to come here: gateway/command_handout.c ----

// Where devices reach the gateway: --host, or the first of tls.names, or this machine's name. address: also a number, where there is one.
struct gw_reach {
	char host[256], address[64];
};
void gw_reach_of(const struct gw_config *config, const char *given, struct gw_reach *reach);
// Adds host, ports, authority and pins, and all in one as a URI (schemas/credential-format.md).
void gw_handout(const struct gw_core *core, const struct gw_reach *reach, const struct gw_new_device *new, const char *password, yyjson_mut_doc *doc,
    yyjson_mut_val *object);

void gw_new_device_generate_psk(struct gw_new_device *new);
// password NULL: one is generated and kept for the answer.
enum gw_error gw_new_device_password(struct gw_new_device *new, const char *password, struct gw_why *why);
// Whether its profile is known; words with the nearest one.
enum gw_error gw_new_device_profile(const struct gw_core *core, const struct gw_new_device *new, struct gw_why *why);
// What a first reading looks like and where it goes.
void gw_device_example(const struct gw_core *core, const struct gw_device *device, yyjson_mut_doc *doc, yyjson_mut_val *object);
// Credentials as members: what its owner must be told once.
void gw_new_device_secrets(const struct gw_new_device *new, yyjson_mut_doc *doc, yyjson_mut_val *object);
void gw_new_device_fini(struct gw_new_device *new);

#endif
