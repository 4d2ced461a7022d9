// SPDX-License-Identifier: Apache-2.0
// Commands on the credentials of a device that is there: a new key beside the old one, a new certificate, and the end of all it has. Threads: as command.h says.
#include "gateway/command_handlers.h"

#include "gateway/clock.h"
#include "gateway/command_device.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

// A copy of a device of the registry; speaks_for stays behind.
static enum gw_error
copy_device(struct gw_call *call, struct gw_device *out)
{
	const struct gw_snapshot *snapshot = gw_snapshot_get(call->core->registry);
	const char *id = gw_call_text(call, "id");
	const struct gw_device *device = id != NULL ? gw_snapshot_device(snapshot, gw_span_text(id)) : NULL;
	enum gw_error error = GW_OK;

	if (device == NULL)
		error = gw_fail(call->why, id == NULL ? GW_E_ARGUMENT : GW_E_NOT_FOUND, id == NULL ? "which device?" : "device \"%.64s\" is not in the registry", id);
	else {
		*out = *device;
		out->speaks_for = NULL;
		out->speaks_for_count = 0;
	}
	gw_snapshot_put(snapshot);
	return error;
}

static void
emit_handout(struct gw_call *call, const struct gw_new_device *new, const char *done, int64_t until_us, bool until_used)
{
	struct gw_reach reach;
	yyjson_mut_val *object;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	gw_reach_of(call->core->config, gw_call_text(call, "host"), &reach);
	yyjson_mut_obj_add_strcpy(doc, object, "device", new->device.id);
	yyjson_mut_obj_add_str(doc, object, "done", done);
	yyjson_mut_obj_add_strcpy(doc, object, "profile", new->device.profile);
	if (until_us != 0)
		gw_json_time(doc, object, "old_until", until_us);
	if (until_used)
		yyjson_mut_obj_add_bool(doc, object, "old_until_used", true);
	gw_new_device_secrets(new, doc, object);
	gw_device_example(call->core, &new->device, doc, object);
	gw_handout(call->core, &reach, new, NULL, doc, object);
	(void)gw_call_emit(call, doc);
}

// ---- A new key ----

// "+2h": from now on; else as everywhere.
static enum gw_error
until_of(struct gw_call *call, int64_t *us)
{
	const char *text = gw_call_text(call, "until");
	int64_t now_us = gw_clock_wall_us();
	char before[40];

	*us = 0;
	if (text == NULL)
		return GW_OK;
	if (text[0] == '+' && strlen(text) < sizeof(before)) {
		snprintf(before, sizeof(before), "-%s", text + 1);
		if (gw_time_parse(before, us) == 0) {
			*us = now_us + (now_us - *us);
			return GW_OK;
		}
	}
	if (gw_time_parse(text, us) != 0)
		return gw_fail(call->why, GW_E_ARGUMENT, "--until is a time such as 2026-11-20T08:15:00Z, 2026-11-20 or +48h, not \"%.40s\"", text);
	return *us > now_us ? GW_OK : gw_fail(call->why, GW_E_ARGUMENT, "--until is over already; --at-once ends the old key now");
}

// Without a word: until the new key was used.
static enum gw_error
take_rotation(struct gw_call *call, struct gw_new_device *new, struct gw_rotation *rotation)
{
	const char *key = gw_call_text(call, "psk-key"), *identity = gw_call_text(call, "psk-identity");
	enum gw_error error = until_of(call, &rotation->until_us);

	rotation->at_once = gw_call_flag(call, "at-once");
	rotation->until_used = gw_call_flag(call, "until-used") || (rotation->until_us == 0 && !rotation->at_once);
	if (error == GW_OK && rotation->at_once && (rotation->until_us != 0 || gw_call_flag(call, "until-used")))
		return gw_fail(call->why, GW_E_ARGUMENT, "--at-once leaves nothing to wait for: not beside --until and --until-used");
	if (error == GW_OK && key != NULL)
		error = gw_device_set(&new->device, "psk", gw_span_text(key), call->why);
	else if (error == GW_OK)
		gw_new_device_generate_psk(new);
	if (error == GW_OK && identity != NULL)
		error = gw_device_set(&new->device, "psk_identity", gw_span_text(identity), call->why);
	if (error != GW_OK)
		return error;
	if (identity != NULL)
		snprintf(rotation->identity, sizeof(rotation->identity), "%s", identity);
	memcpy(rotation->psk, new->device.psk, sizeof(rotation->psk));
	rotation->psk_len = new->device.psk_len;
	return GW_OK;
}

enum gw_error
gw_command_device_rotate(struct gw_call *call)
{
	struct gw_rotation rotation = { .until_us = 0 };
	struct gw_change change = { .kind = GW_CHANGE_ROTATE, .rotation = &rotation, .who = call->who };
	struct gw_new_device new = { 0 };
	enum gw_error error = copy_device(call, &new.device);

	if (error == GW_OK)
		error = take_rotation(call, &new, &rotation);
	change.id = gw_span_text(new.device.id);
	if (error == GW_OK)
		error = gw_registry_change(call->core->registry, &change, call->why);
	if (error == GW_OK) { // only what is new is told
		memcpy(new.device.psk_identity, rotation.identity, sizeof(new.device.psk_identity));
		new.device.subject[0] = new.device.user[0] = '\0';
		emit_handout(call, &new, "rotated", rotation.until_us, rotation.until_used);
	}
	sodium_memzero(&rotation, sizeof(rotation));
	gw_new_device_fini(&new);
	return error;
}

// ---- A new certificate ----

enum gw_error
gw_command_device_issue(struct gw_call *call)
{
	struct gw_new_device new = { 0 };
	struct gw_new_devices made = { &new, 1 };
	struct gw_change change = { .kind = GW_CHANGE_ISSUE, .who = call->who, .with = gw_new_devices_rows, .arg = &made };
	struct gw_issuer *issuer = NULL;
	struct gw_issue issue;
	enum gw_error error = copy_device(call, &new.device);

	if (error == GW_OK)
		error = gw_call_issue(call, &issue);
	if (error == GW_OK)
		error = gw_issuer_open(call->core->config, &issuer, call->why);
	if (error == GW_OK)
		error = gw_new_device_issue(issuer, &issue, &new, call->why);
	gw_issuer_close(issuer);
	change.id = gw_span_text(new.device.id);
	change.subject = new.device.subject;
	change.words = new.row.serial;
	if (error == GW_OK)
		error = gw_registry_change(call->core->registry, &change, call->why);
	if (error == GW_OK) {
		new.device.psk_len = 0;
		new.device.user[0] = '\0';
		emit_handout(call, &new, "issued", 0, false);
	}
	gw_new_device_fini(&new);
	return error;
}

// ---- The end ----

struct revoking {
	const char *device, *reason;
	struct gw_certificate *at; // of the device
	size_t count, cap;
	bool full;
};

static bool
collect(void *arg, const struct gw_certificate *row)
{
	struct revoking *list = arg;

	if (strcmp(row->device, list->device) != 0 || row->revoked_us != 0)
		return true;
	if (list->count == list->cap) {
		size_t cap = list->cap == 0 ? 8 : list->cap * 2;
		struct gw_certificate *more = realloc(list->at, cap * sizeof(*more));

		if (more == NULL) {
			list->full = true;
			return false;
		}
		list->at = more;
		list->cap = cap;
	}
	list->at[list->count++] = *row;
	return true;
}

static enum gw_error
put_revoked(void *arg, struct gw_ticket *ticket)
{
	struct revoking *list = arg;
	enum gw_error error = GW_OK;

	for (size_t i = 0; i < list->count && error == GW_OK; i++) {
		list->at[i].revoked_us = gw_clock_wall_us();
		snprintf(list->at[i].reason, sizeof(list->at[i].reason), "%s", list->reason != NULL ? list->reason : "");
		error = gw_certificate_put(ticket, &list->at[i]);
	}
	return error;
}

static void
emit_revoked(struct gw_call *call, const struct revoking *list)
{
	yyjson_mut_val *object, *serials;
	yyjson_mut_doc *doc = gw_call_object(&object);

	if (doc == NULL)
		return;
	yyjson_mut_obj_add_strcpy(doc, object, "device", list->device);
	yyjson_mut_obj_add_str(doc, object, "state", "disabled");
	serials = yyjson_mut_obj_add_arr(doc, object, "certificates_revoked");
	for (size_t i = 0; i < list->count; i++)
		yyjson_mut_arr_add_strcpy(doc, serials, list->at[i].serial);
	(void)gw_call_emit(call, doc);
}

// All that it has: its certificates are revoked, and no credential of it opens a door until somebody enables it.
enum gw_error
gw_command_device_revoke(struct gw_call *call)
{
	struct revoking list = { .device = gw_call_text(call, "id"), .reason = gw_call_text(call, "reason") };
	struct gw_change change = { .kind = GW_CHANGE_REVOKE, .who = call->who, .words = list.reason, .with = put_revoked, .arg = &list };
	enum gw_error error;

	if (list.device == NULL)
		return gw_fail(call->why, GW_E_ARGUMENT, "which device?");
	change.id = gw_span_text(list.device);
	if (list.reason != NULL && strlen(list.reason) > 120)
		return gw_fail(call->why, GW_E_ARGUMENT, "a reason has at most 120 bytes");
	error = gw_certificates_each(call->core->journal, collect, &list);
	if (error != GW_OK || list.full)
		error = gw_fail(call->why, list.full ? GW_E_MEMORY : error, "%s", gw_error_text(list.full ? GW_E_MEMORY : error));
	if (error == GW_OK)
		error = gw_registry_change(call->core->registry, &change, call->why);
	if (error == GW_OK && list.count > 0 && (error = gw_certificates_publish(call->core, NULL, call->why)) != GW_OK) {
		struct gw_why words = *call->why;

		error = gw_fail(call->why, error, "the device is disabled, but the revocation list is as it was: %.100s", words.text);
	}
	if (error == GW_OK)
		emit_revoked(call, &list);
	free(list.at);
	return error;
}
